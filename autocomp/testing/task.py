"""The contract of a task."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from autocomp.errors import DataError
from autocomp.tasks import Task, make_task
from autocomp.tasks.measure import standard_error

_DRAWS = 4000
"""Random losses whose gradients are averaged."""


class TaskContract:
    """What every task promises; subclass it and define `make`, `outputs` and `targets`.

    A task is given a network's outputs on some samples, targets where there are any, and the dense
    network's outputs on the same samples. Of these it makes a loss and a divergence for each
    sample, and the rows from which its leading figure follows. Nothing that it is given is changed,
    and what it says does not depend on how samples are cut into batches.

    The divergence is 0 for equal outputs, never negative, and grows with the error. To second order
    it is 1/2 E (g . dy)^2 with g the gradient of `drawn_loss`. Each sample's shares in the figure
    add up to it.
    """

    def make(self) -> Task:
        """Returns the task."""
        raise NotImplementedError

    def outputs(self, n: int, generator: torch.Generator) -> Tensor:
        """Returns plausible outputs of a network for `n` samples."""
        raise NotImplementedError

    def targets(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Returns targets that fit them; None for a task that needs none."""
        raise NotImplementedError

    @pytest.fixture
    def dense(self) -> Tensor:
        """The dense network's outputs on 12 samples."""
        return self.outputs(12, _generator(0))

    @pytest.fixture
    def compressed(self, dense: Tensor) -> Tensor:
        """Outputs near to them."""
        return dense + 0.1 * dense.std() * torch.randn(dense.shape, generator=_generator(1))

    @pytest.fixture
    def wanted(self) -> Tensor | None:
        """The samples' targets."""
        return self.targets(12, _generator(2))

    @pytest.fixture
    def task(self, dense: Tensor) -> Task:
        """The task, for networks whose dense one gives `dense`."""
        return make_task(self.make()).fitted(dense)

    def test_it_names_itself(self, task: Task) -> None:
        """A name, a unit, and a metric with a direction."""
        assert isinstance(task.name, str) and task.name
        assert isinstance(task.unit, str) and task.unit
        assert task.metric.name and task.metric.larger_is_better in (True, False)
        assert task.fitted(self.outputs(3, _generator(5))).metric == task.metric

    def test_its_own_outputs_and_labels_pass(
        self, task: Task, dense: Tensor, wanted: Tensor | None
    ) -> None:
        """And what has no samples does not."""
        task.check(dense, wanted)
        task.check_labels(wanted, "mine")
        with pytest.raises(DataError):
            task.check(torch.zeros(()), wanted)

    def test_labels_that_are_missing_are_told(self, task: Task) -> None:
        """Where they are needed."""
        if task.needs_labels:
            with pytest.raises(DataError, match="mine: "):
                task.check_labels(None, "mine")
        else:
            task.check_labels(None, "mine")

    def test_divergence(self, task: Task, dense: Tensor, compressed: Tensor) -> None:
        """One number a sample, 0 for equal outputs, larger for larger errors."""
        n = len(dense)
        none = task.divergence(dense, dense)
        assert none.shape == (n,) and bool((none.abs() < 1e-5).all())
        found = [task.divergence(dense + s * (compressed - dense), dense) for s in (0.5, 1.0, 2.0)]
        for less, more in zip(found, found[1:], strict=False):
            assert bool((less >= -1e-6).all())
            assert float(less.double().mean()) < float(more.double().mean())

    def test_the_gap(self, task: Task, dense: Tensor, compressed: Tensor) -> None:
        """Like the divergence: a number a sample, 0 for equal outputs, larger for larger errors."""
        none = task.gap(dense, dense)
        assert none.shape == (len(dense),) and bool((none.abs() < 1e-4).all())
        means = [
            float(task.gap(dense + s * (compressed - dense), dense).double().mean())
            for s in (0.25, 0.5, 1.0, 2.0)
        ]
        assert means == sorted(means) and len(set(means)) == len(means)
        apart = [task.gap(compressed[i : i + 1], dense[i : i + 1]) for i in range(len(dense))]
        assert torch.allclose(task.gap(compressed, dense), torch.cat(apart), atol=1e-5)

    def test_batches_do_not_matter(
        self, task: Task, dense: Tensor, compressed: Tensor, wanted: Tensor | None
    ) -> None:
        """Divergence, loss and rows are the same for all samples at once and in pieces."""

        def parts(values: Tensor | None) -> list[Tensor | None]:
            return [None, None] if values is None else [values[:5], values[5:]]

        pieces = list(zip(parts(compressed), parts(wanted), parts(dense), strict=True))
        whole = task.measure.rows(compressed, wanted, dense)
        assert whole.shape[0] == len(dense) and whole.dtype == torch.float64
        cut = [task.measure.rows(o, t, d) for o, t, d in pieces]  # type: ignore[arg-type]
        assert torch.allclose(whole, torch.cat(cut))
        apart = [task.divergence(o, d) for o, _, d in pieces]  # type: ignore[arg-type]
        assert torch.allclose(task.divergence(compressed, dense), torch.cat(apart), atol=1e-6)
        if wanted is not None:
            losses = [task.loss(o, t) for o, t, _ in pieces]  # type: ignore[arg-type]
            assert torch.allclose(task.loss(compressed, wanted), torch.cat(losses), atol=1e-6)

    def test_shares_make_up_the_figure(
        self, task: Task, dense: Tensor, compressed: Tensor, wanted: Tensor | None
    ) -> None:
        """In whatever order samples come; their scatter is a finite error."""
        rows = task.measure.rows(compressed, wanted, dense)
        value, shares = task.measure.value(rows), task.measure.shares(rows)
        assert math.isfinite(value) and shares.shape == (len(dense),)
        assert float(shares.sum()) == pytest.approx(value, rel=1e-6, abs=1e-9)
        error = standard_error(shares)
        assert math.isfinite(error) and error >= 0
        assert task.measure.value(rows.flip(0)) == pytest.approx(value, rel=1e-9)
        assert task.score(rows, 0.0).quality == pytest.approx(value)

    def test_the_loss_can_be_trained_with(
        self, task: Task, compressed: Tensor, wanted: Tensor | None
    ) -> None:
        """One finite number a sample, with a gradient by the outputs."""
        if wanted is None:
            pytest.skip("no targets")
        outputs = compressed.clone().requires_grad_(True)
        loss = task.loss(outputs, wanted)
        assert loss.shape == (len(outputs),) and bool(loss.isfinite().all())
        (gradient,) = torch.autograd.grad(loss.sum(), outputs)
        assert bool(gradient.isfinite().all()) and bool((gradient != 0).any())

    def test_drawn_losses_tell_the_divergence(self, task: Task, dense: Tensor) -> None:
        """1/2 E (g . dy)^2, of small errors, within a seventh of the divergence."""
        few, generator = dense[:4], _generator(3)
        step = 1e-2 * dense.std() * torch.randn(few.shape, generator=generator)
        expected = float(task.divergence((few + step).double(), few.double()).double().sum())
        total = 0.0
        outputs = few.clone().requires_grad_(True)
        for _ in range(_DRAWS):
            (gradient,) = torch.autograd.grad(task.drawn_loss(outputs, generator), outputs)
            each = (gradient * step).flatten(1).sum(1)
            total += 0.5 * float(each.square().sum())
        assert total / _DRAWS == pytest.approx(expected, rel=1 / 7)

    def test_nothing_given_is_changed(
        self, task: Task, dense: Tensor, compressed: Tensor, wanted: Tensor | None
    ) -> None:
        """Outputs and targets are left as they are."""
        before = [x.clone() for x in (dense, compressed)]
        labels = None if wanted is None else wanted.clone()
        task.divergence(compressed, dense)
        task.measure.rows(compressed, wanted, dense)
        task.check(compressed, wanted)
        assert torch.equal(before[0], dense) and torch.equal(before[1], compressed)
        if wanted is not None and labels is not None:
            task.loss(compressed, wanted)
            assert torch.equal(wanted, labels)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
