"""Regression: numbers for each sample."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.errors import DataError
from autocomp.tasks.base import Task
from autocomp.tasks.measure import Measure, SumMeasure


class Regression(Task):
    """Numbers for each sample: outputs and targets `(n,)` or `(n, ...)`, of one shape.

    Metrics: r2 (the share of the targets' variance that is explained, averaged over outputs), rmse,
    mae. Loss: squared error, averaged over outputs. Divergence: squared difference from the dense
    outputs over their variance, averaged over outputs; so it is what the network loses in R2
    against itself.
    """

    name: ClassVar[str] = "regression"
    unit: ClassVar[str] = "of the variance"

    def __init__(self, metric: Any = "", output: str = "") -> None:
        super().__init__(metric, output)
        self._variance: Tensor | None = None

    def measures(self) -> Mapping[str, Measure]:
        """Returns r2, rmse and mae."""
        return {
            "r2": SumMeasure(Metric("R2", percent=False), _moments, _explained),
            "rmse": SumMeasure(
                Metric("RMSE", larger_is_better=False, percent=False, bounded=False),
                _squared, lambda sums: (sums[0] / sums[1]).sqrt(),
            ),
            "mae": SumMeasure(
                Metric("MAE", larger_is_better=False, percent=False, bounded=False),
                _absolute, lambda sums: sums[0] / sums[1],
            ),
        }  # fmt: skip

    def fitted(self, dense: Tensor) -> Task:
        """Returns the task with the variance of each of the dense network's outputs."""
        made = copy.copy(self)
        made._variance = _variance(_flat(dense))
        return made

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are numbers, as many a sample as there are targets."""
        wanted = None if targets is None else _sizes(targets)
        fits = outputs.dim() > 0 and (wanted is None or _sizes(outputs) == wanted)
        if not fits or not outputs.is_floating_point():
            told = "" if targets is None else f" of shape {tuple(targets.shape)}"
            raise DataError(
                f"A regression's outputs must be numbers like its targets{told}, but the network "
                f"returned {tuple(outputs.shape)} of {outputs.dtype}; give the targets that belong "
                "to it, or name the output that counts with `output`."
            )

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError unless targets are finite numbers."""
        super().check_labels(labels, name)
        if labels is not None and not bool(torch.isfinite(labels).all()):
            raise DataError(f"{name}: targets must be finite, but hold NaN or infinity; drop them.")
        if labels is None or self.metric.name != "R2":
            return
        values = _flat(labels).double()
        if len(values) < 2 or bool((values == values[:1]).all(0).any()):
            raise DataError(
                f"{name}: R2 is a share of the targets' variance, but {len(values)} sample(s) have "
                "a target without any; give more samples, or metric=rmse."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the squared error, averaged over the outputs of a sample."""
        return (_flat(outputs) - _flat(targets).to(outputs.dtype)).square().mean(1)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns the squared difference over the variance of the dense outputs."""
        wanted = _flat(dense)
        return ((_flat(outputs) - wanted).square() / self._scale(wanted)).mean(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns sum sqrt(2 / (k v)) e y with e from a normal distribution, k outputs."""
        seen = _flat(outputs)
        noise = torch.randn(seen.shape, generator=generator).to(seen)
        return (noise * seen * (2 / (seen.shape[1] * self._scale(seen.detach()))).sqrt()).sum()

    def _scale(self, dense: Tensor) -> Tensor:
        found = _variance(dense) if self._variance is None else self._variance
        return found.to(dense)


def _sizes(values: Tensor) -> tuple[int, ...]:
    """Returns how many samples, and the sizes of what a sample has, those of 1 left out."""
    return (len(values), *(size for size in values.shape[1:] if size != 1))


def _flat(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _variance(dense: Tensor) -> Tensor:
    """Returns the variance of each output; where there is none, the mean square, or 1."""
    values = dense.double()
    found = values.var(0, unbiased=False)
    square = values.square().mean(0)
    found = torch.where(found > 1e-12 * square, found, square)
    return torch.where(found > 0, found, torch.ones_like(found))


def _moments(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    y, t = _flat(outputs).double(), _flat(targets).double()
    return torch.cat([(y - t).square(), t, t.square(), torch.ones_like(t[:, :1])], 1)


def _explained(sums: Tensor) -> Tensor:
    """Returns the mean over outputs of 1 - sum (y - t)^2 / sum (t - mean t)^2."""
    k = (len(sums) - 1) // 3
    error, first, second = sums[:k], sums[k : 2 * k], sums[2 * k : 3 * k]
    spread = (second - first.square() / sums[-1]).clamp(min=1e-300)
    return (1 - error / spread).mean()


def _squared(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    error = (_flat(outputs).double() - _flat(targets).double()).square().mean(1)
    return torch.stack([error, torch.ones_like(error)], 1)


def _absolute(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    error = (_flat(outputs).double() - _flat(targets).double()).abs().mean(1)
    return torch.stack([error, torch.ones_like(error)], 1)
