"""How a figure is made of samples, and how far it may be off: sums, or a function of everything."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.errors import DataError
from autocomp.plugins.imports import call_user

_GROUPS = 20
"""Groups that a jackknife leaves out in turn."""


class Measure(ABC):
    """A figure of samples.

    Attributes:
        metric: what the figure is called, and which way it improves.
    """

    metric: Metric

    @abstractmethod
    def rows(self, outputs: Tensor, targets: Tensor | None, dense: Tensor) -> Tensor:
        """Returns what the figure needs to know of each sample, `(n, k)` in float64.

        Args:
            outputs: a network's outputs.
            targets: the samples' targets; None without labels.
            dense: the dense network's outputs on the same samples.
        """

    @abstractmethod
    def value(self, rows: Tensor) -> float:
        """Returns the figure of some samples, from their rows."""

    @abstractmethod
    def shares(self, rows: Tensor) -> Tensor:
        """Returns each sample's share in the figure, `(n,)`; together they are the figure.

        Their scatter tells its error: standard error = sqrt(sum p^2 - (sum p)^2 / n). NaN where it
        cannot be told.
        """


class SumMeasure(Measure):
    """A figure that is a smooth function of sums over the samples.

    Shares are the infinitesimal jackknife's (Jaeckel 1972): with f the function, S the sums and x_i
    the rows, p_i = f(S) / n + f'(S) . (x_i - S / n). Of an accuracy this gives sqrt(p (1 - p) / n).

    Args:
        metric: what it is called.
        rows: (outputs, targets, dense) -> `(n, k)`.
        function: sums `(k,)`, float64 -> the figure, differentiable.
    """

    def __init__(
        self,
        metric: Metric,
        rows: Callable[[Tensor, Any, Tensor], Tensor],
        function: Callable[[Tensor], Tensor],
    ) -> None:
        self.metric = metric
        self._rows = rows
        self._function = function

    def rows(self, outputs: Tensor, targets: Tensor | None, dense: Tensor) -> Tensor:
        """Returns the summands; see `Measure`."""
        return self._rows(outputs, targets, dense).double().cpu()

    def value(self, rows: Tensor) -> float:
        """Returns the function of the sums."""
        return float(self._function(rows.sum(0)))

    def shares(self, rows: Tensor) -> Tensor:
        """Returns the infinitesimal jackknife's pseudo-values over n."""
        with torch.enable_grad():
            sums = rows.sum(0).clone().requires_grad_(True)
            value = self._function(sums)
            (slope,) = torch.autograd.grad(value, sums)
        centred = rows - rows.mean(0)
        return float(value.detach()) / len(rows) + centred @ slope.nan_to_num()


class FunctionMeasure(Measure):
    """A figure that a function makes of all outputs and targets, as a user gives it.

    Its error is the delete-a-group jackknife's: twenty groups of samples are left out in turn.

    Args:
        function: (outputs, targets) -> one finite number, larger for better networks unless
            `larger_is_better` is false.
        name: what the figure is called.
        larger_is_better: which way it improves.
        percent: whether it is a share that is written in percent.
        bounded: whether 1 is the best there is, see `Metric`.
        prepared: makes of outputs what the function takes (decisions, probabilities).
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Any],
        name: str = "",
        larger_is_better: bool = True,
        percent: bool = False,
        bounded: bool = False,
        prepared: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        name = name or getattr(function, "__name__", type(function).__name__).replace("_", " ")
        self.metric = Metric(name, larger_is_better, percent, bounded)
        self._function = function
        self._prepared = prepared
        self._shapes: tuple[torch.Size, torch.Size] = (torch.Size(), torch.Size())
        self._kinds: tuple[torch.dtype, torch.dtype] = (torch.float32, torch.float32)

    def rows(self, outputs: Tensor, targets: Tensor | None, dense: Tensor) -> Tensor:
        """Returns outputs and targets side by side."""
        if targets is None:
            raise DataError(
                f"The metric {self.metric.name} compares outputs with targets, but there are "
                "none; give labels, or leave `metric` out."
            )
        seen = outputs if self._prepared is None else self._prepared(outputs)
        self._shapes = (seen.shape[1:], targets.shape[1:])
        self._kinds = (seen.dtype, targets.dtype)
        n = len(seen)
        return torch.cat([seen.reshape(n, -1).double(), targets.reshape(n, -1).double()], 1).cpu()

    def value(self, rows: Tensor) -> float:
        """Returns what the function makes of them.

        Raises:
            DataError: if it raises something, or returns anything but one finite number.
        """
        n, width = len(rows), self._shapes[0].numel()
        outputs = rows[:, :width].reshape(n, *self._shapes[0]).to(self._kinds[0])
        targets = rows[:, width:].reshape(n, *self._shapes[1]).to(self._kinds[1])
        said = (
            f"metric {self.metric.name} of outputs {tuple(outputs.shape)} and targets "
            f"{tuple(targets.shape)}"
        )
        found = call_user(said, lambda: self._function(outputs, targets), {}, DataError)
        try:
            number = float(found)
        except (TypeError, ValueError, RuntimeError):
            number = math.nan
        if not math.isfinite(number):
            shape = tuple(found.shape) if hasattr(found, "shape") else ()
            told = f"of shape {shape}" if shape else repr(found)
            raise DataError(
                f"The metric {self.metric.name} must return one finite number, but returned "
                f"{told:.60}; average it, and mind samples for which it has no value."
            )
        return number

    def shares(self, rows: Tensor) -> Tensor:
        """Returns shares whose scatter is that of the figure without a group of samples."""
        n, whole = len(rows), self.value(rows)
        group = torch.arange(n) % min(_GROUPS, n)
        count = int(group.max()) + 1
        if count < 2:
            return torch.full((n,), math.nan, dtype=torch.float64)
        try:
            left = torch.tensor([self.value(rows[group != g]) for g in range(count)]).double()
        except DataError:  # it has no value without some of the samples: the error is not known
            return torch.full((n,), math.nan, dtype=torch.float64)
        pseudo = count * whole - (count - 1) * left
        sizes = torch.bincount(group, minlength=count).double()
        scatter = (pseudo - pseudo.mean()) / (count * sizes.sqrt())
        return whole / n + scatter[group]


def standard_error(shares: Tensor) -> float:
    """Returns the standard error of the figure that these shares make up; NaN if not known."""
    n = len(shares)
    if n < 2 or bool(shares.isnan().any()):
        return math.nan
    return math.sqrt(max(float(shares.square().sum() - shares.sum().square() / n), 0.0))
