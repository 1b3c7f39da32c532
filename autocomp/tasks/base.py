"""What a network is for: its loss, its figure, and how far outputs are from the dense ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.core.score import WORST, Score
from autocomp.core.structured import Inputs
from autocomp.errors import DataError, UnknownNameError, unknown
from autocomp.plugins.imports import call_user
from autocomp.tasks.measure import FunctionMeasure, Measure, standard_error
from autocomp.tasks.outputs import USUAL, selected
from autocomp.tasks.scorers import scorer_measure, scorer_of


class Task(ABC):
    """What a network is for.

    One tensor of a network's output counts (`outputs`). On it stand the loss, the leading figure
    and the *divergence*: how far a sample's outputs are from the dense network's, without labels.
    Sensitivities and corrections stand on the divergence alone, and plans are ranked by the *gap*,
    which is the divergence of softened outputs; so where there are no labels, everything but the
    figure works without them.

    Args:
        metric: what leads: a name in `measures` or of a scorer of scikit-learn's, a function
            (outputs, targets) -> number (larger is better), or a `Measure`; "" for the first of
            `measures`.
        output: name or place of the entry that counts in an output of several; "" to find it.

    Attributes:
        name: as the registry knows it.
        needs_labels: whether loss and figures need labels.
        compares: whether figures compare with the dense network's outputs.
        unit: what the divergence is measured in.
        temperature: what outputs are divided by in the gap.
        usual: names of outputs that are looked for, see `selected`.

    Raises:
        UnknownNameError: if there is no such metric.
    """

    name: ClassVar[str]
    needs_labels: ClassVar[bool] = True
    compares: ClassVar[bool] = False
    unit: ClassVar[str] = "nats"
    temperature: ClassVar[float] = 1.0
    usual: ClassVar[tuple[str, ...]] = USUAL

    def __init__(
        self,
        metric: str | Measure | Callable[[Tensor, Tensor], Any] = "",
        output: str = "",
    ) -> None:
        self._output = str(output)
        self.measure = self._measure(metric)

    @abstractmethod
    def measures(self) -> Mapping[str, Measure]:
        """Returns the figures that the task knows, by name; the first leads unless one is named."""

    @abstractmethod
    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are of this task's kind, and targets fit them."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns each sample's loss, `(n,)`, differentiable: what a network is trained with."""

    @abstractmethod
    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns how far each sample's outputs are from the dense network's, `(n,)`; 0 if equal.

        Args:
            outputs: the compressed network's.
            dense: the dense network's on the same samples.
        """

    def gap(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns T^2 divergence(outputs / T, dense / T), `(n,)`: what plans are ranked by.

        At temperature 1 a few samples near a decision carry half of the divergence of a good plan;
        softened, all samples count, and the order of plans holds on others. (Hinton et al. 2015,
        arXiv:1503.02531; `benchmarks/reward.py` compares temperatures.)
        """
        t = self.temperature
        return t * t * self.divergence(outputs / t, dense / t)

    @abstractmethod
    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns a random scalar whose gradient g by the outputs shows how they may change.

        To second order, the divergence of an error dy is 1/2 E (g . dy)^2, summed over samples: for
        likelihoods g is that of a label drawn from the network's own distribution (the Fisher
        information).

        Args:
            outputs: the dense network's, with gradients.
            generator: of the random numbers, on the CPU.
        """

    def fitted(self, dense: Tensor) -> Task:
        """Returns the task for networks whose dense one gives these outputs; by default itself.

        A task whose divergence has a scale takes it from here, once.
        """
        return self

    def outputs(self, raw: Any, inputs: Inputs) -> Tensor:
        """Returns the tensor that counts of what a network returned for some inputs.

        Raises:
            DataError: if there is none.
        """
        return selected(raw, self._output, self.usual)

    def targets(self, labels: Tensor | None, inputs: Inputs) -> Tensor | None:
        """Returns the targets of a batch: by default its labels."""
        return labels

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError if a split's labels are of another kind than this task's.

        Args:
            labels: of the whole split; None without labels.
            name: what the split is called.
        """
        if labels is None and self.needs_labels:
            raise DataError(
                f"{name}: the task {self.name} needs labels, but there are none; give pairs of "
                "inputs and labels, or another task (embedding needs none)."
            )

    @property
    def metric(self) -> Metric:
        """What the leading figure is called, and which way it improves."""
        return replace(self.measure.metric, divergence_unit=self.unit)

    def score(self, rows: Tensor, loss: float, metric: Metric | None = None) -> Score:
        """Returns the score of samples from their rows.

        Args:
            rows: `(n, k)`, as the leading measure makes them.
            loss: sum of the samples' losses.
            metric: the metric, where it knows the dense network's figure.
        """
        n, mean = len(rows), loss / len(rows)
        metric = metric or self.metric
        value = self.measure.value(rows)
        if not math.isfinite(value):
            value = -WORST if metric.larger_is_better else WORST
        error = None
        if metric.name != "accuracy":
            error = standard_error(self.measure.shares(rows))
            error = error if math.isfinite(error) else WORST
        return Score(value, mean if math.isfinite(mean) else WORST, n, metric, error)

    def decisions(self, outputs: Tensor) -> Tensor:
        """Returns what a figure of decisions compares with targets; by default the outputs."""
        return outputs

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Returns what a figure of probabilities takes; by default the outputs."""
        return outputs

    def _measure(self, metric: str | Measure | Callable[[Tensor, Tensor], Any]) -> Measure:
        if isinstance(metric, Measure):
            return metric
        if callable(metric):
            if str(getattr(metric, "__module__", "")).startswith("sklearn."):
                # scikit-learn's functions take the targets first
                return self._measure(self._scorer_of(metric))
            return FunctionMeasure(metric)
        known = self.measures()
        if not metric:
            return next(iter(known.values()))
        if metric in known:
            return known[metric]
        found = scorer_measure(str(metric), self.decisions, self.probabilities)
        if found is None:
            raise UnknownNameError(
                f"{unknown(f'metric of the task {self.name}', str(metric), known)} Scorers of "
                "scikit-learn count, too, where it is installed."
            )
        return found

    def _scorer_of(self, function: Callable[..., Any]) -> str:
        found = scorer_of(function)
        if not found:
            raise DataError(
                f"A metric must be a function (outputs, targets), but scikit-learn's "
                f"{getattr(function, '__name__', 'function')} takes the targets first, and no "
                "scorer stands for it; wrap it, as lambda outputs, targets: f(targets, outputs)."
            )
        return found


def check_task(task: Task, outputs: Tensor) -> None:
    """Raises DataError unless a task's divergence is one finite number a sample, 0 for equals.

    Args:
        task: the task, which may be a user's own.
        outputs: of the dense network.
    """
    fitted = task.fitted(outputs)
    said = f"divergence of the task {task.name} of outputs {tuple(outputs.shape)}"
    found: Any = call_user(said, lambda: fitted.divergence(outputs, outputs), {}, DataError)
    right = isinstance(found, Tensor) and found.shape == (len(outputs),)
    if not right or not bool(torch.isfinite(found).all()) or float(found.abs().max()) > 1e-3:
        told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        values = f" up to {float(found.abs().max()):.3g}" if right else ""
        raise DataError(
            f"A task's divergence must be one finite number for each of {len(outputs)} samples, 0 "
            f"where nothing changed, but {task.name} gave {told}{values}; average it over all but "
            "the samples."
        )


def finite_mean(values: Tensor) -> float:
    """Returns the mean of divergences; `WORST` if it is not finite."""
    mean = float(values.double().mean())
    return mean if math.isfinite(mean) else WORST
