"""Scoring a network on a split, and its outputs on calibration inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autocomp.core.metric import Metric
from autocomp.core.score import WORST, Score
from autocomp.core.structured import Inputs
from autocomp.errors import DataError
from autocomp.network.batches import Batches, InputsOf
from autocomp.network.forward import forward
from autocomp.tasks import Task

_KEPT_BYTES = 1 << 29
"""Outputs up to this size together are kept; larger ones are computed anew."""


class Predicted(NamedTuple):
    """A network's outputs on a batch, in float32, and the batch's targets."""

    outputs: Tensor
    targets: Tensor | None


def predictions(model: nn.Module, batches: Batches, task: Task) -> Iterator[Predicted]:
    """Yields outputs and targets of each batch; the network must be in evaluation mode.

    Raises:
        DataError: if outputs or targets are of another kind than the task's.
    """
    for inputs, labels in batches:
        targets = task.targets(labels, inputs)
        with torch.inference_mode():
            outputs = forward(model, inputs, DataError, "data")
            predicted = Predicted(checked(outputs, len(inputs), task, targets), targets)
        yield predicted


def outputs_on(model: nn.Module, batches: Sequence[Inputs], task: Task) -> Tensor:
    """Returns the outputs on all batches, float32, in evaluation mode's arithmetic.

    Raises:
        DataError: if they are of another kind than the task's.
    """
    with torch.inference_mode():
        parts = [_one(model, inputs, task) for inputs in batches]
    widths = {tuple(part.shape[1:]) for part in parts}
    if len(widths) > 1:
        told = " and ".join(str(width) for width in sorted(widths)[:2])
        raise DataError(
            f"The network must return outputs of one shape, but those of two batches are {told} a "
            "sample; pad them in the network, or give the counting entry with `output`."
        )
    return torch.cat(parts)


def checked(outputs: object, n: int, task: Task, targets: Tensor | None = None) -> Tensor:
    """Returns outputs in float32; DataError unless they are a task's, one for each sample."""
    if not isinstance(outputs, Tensor) or outputs.layout != torch.strided or outputs.is_complex():
        raise DataError(
            f"The network must return a tensor of real numbers, but returned "
            f"{type(outputs).__name__}; wrap it so that it does."
        )
    if outputs.dim() == 0 or len(outputs) != n:
        raise DataError(
            f"The network must return an output for each sample, but returned "
            f"{tuple(outputs.shape)} for {n} samples; wrap it so that it does."
        )
    task.check(outputs, targets)
    return outputs.float()


def _one(model: nn.Module, inputs: Inputs, task: Task) -> Tensor:
    outputs = model(inputs)
    n = len(inputs)
    return checked(outputs, n, task)


class Reference:
    """What the dense network makes of fixed batches, one after the other.

    Args:
        model: the dense network, which is not changed later.
        batches: inputs, in the same order whenever they are asked for.
        task: what it is for.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Inputs], task: Task) -> None:
        self._model = model
        self._batches = batches
        self._task = task
        self._kept: list[Tensor] | None = None
        self._large = False

    def __iter__(self) -> Iterator[Tensor]:
        """Yields the outputs on each batch, float32."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Tensor] = []
        size = 0
        for inputs in self._batches:
            outputs = outputs_on(self._model, [inputs], self._task)
            size += outputs.numel() * outputs.element_size()
            if size <= _KEPT_BYTES:
                kept.append(outputs)
            yield outputs
        if size <= _KEPT_BYTES:
            self._kept = kept

    def divergence(self, model: nn.Module) -> float:
        """Returns how far a network's outputs are from these, averaged over the samples."""
        total, n = 0.0, 0
        for inputs, dense in zip(self._batches, self, strict=True):
            outputs = outputs_on(model, [inputs], self._task)
            total += float(self._task.divergence(outputs, dense).double().sum())
            n += len(outputs)
        return finite(total / n)


def finite(value: float) -> float:
    """Returns a divergence; `WORST` for one that is not finite."""
    return value if math.isfinite(value) else WORST


def score(model: nn.Module, batches: Batches, task: Task, dense: nn.Module | None = None) -> Score:
    """Returns a network's score on a split.

    Args:
        model: the network, in evaluation mode.
        batches: the split.
        task: what it is for.
        dense: the dense network, for figures that compare with it; the network itself if None.

    Raises:
        DataError: if outputs or targets are of another kind than the task's.
    """
    reference = None if dense is None else Reference(dense, InputsOf(batches), task)
    return tallied(model, batches, task, reference).score()


def tallied(
    model: nn.Module, batches: Batches, task: Task, reference: Reference | None = None
) -> Tally:
    """Returns what a network gives on a split, beside the dense one's outputs; see `score`."""
    tally = Tally(task)
    references = None if reference is None else iter(reference)
    for part in predictions(model, batches, task):
        tally.add(part, part.outputs if references is None else next(references))
    return tally


class Tally:
    """Adds up what a network gives, batch by batch.

    Args:
        task: what it is for.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows: list[Tensor] = []
        self._loss = 0.0
        self._divergence = self._gap = 0.0

    def add(self, part: Predicted, dense: Tensor) -> None:
        """Adds a batch; `dense` is what the dense network gives on it."""
        divergence = float(self._task.divergence(part.outputs, dense).double().sum())
        self._divergence += divergence
        self._gap += float(self._task.gap(part.outputs, dense).double().sum())
        self._rows.append(self._task.measure.rows(part.outputs, part.targets, dense))
        if part.targets is None or self._task.compares:
            self._loss += divergence
        else:
            self._loss += float(self._task.loss(part.outputs, part.targets).double().sum())

    def rows(self) -> Tensor:
        """Returns what the figure needs to know of each sample so far."""
        return torch.cat(self._rows)

    @property
    def divergence(self) -> float:
        """The mean divergence."""
        return finite(self._divergence / sum(map(len, self._rows)))

    @property
    def gap(self) -> float:
        """The mean gap."""
        return finite(self._gap / sum(map(len, self._rows)))

    def score(self, metric: Metric | None = None) -> Score:
        """Returns the score; of a metric that knows the dense figure, where one is given."""
        return self._task.score(self.rows(), self._loss, metric)
