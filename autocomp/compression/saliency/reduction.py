"""From the values of a unit to one number: over its places, then over the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Reduction(Protocol):
    """Takes values in pieces, and gives one number a unit at the end."""

    def add(self, values: Tensor) -> None:
        """Takes the values of some examples, `(n, units, places)`."""
        ...

    def result(self) -> Tensor:
        """Returns the numbers, float64 `(units,)` on the CPU."""
        ...


class PerExample:
    """Reduces the places of each example, and averages over the examples.

    Args:
        places: `(n, units, places)` -> `(n, units)`.
    """

    def __init__(self, places: Callable[[Tensor], Tensor]) -> None:
        self._places = places
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, values: Tensor) -> None:
        """Takes the values of some examples, `(n, units, places)`."""
        one = _exact(self._places(values)).sum(0)
        self._sum = one if self._sum is None else self._sum + one
        self._count += len(values)

    def result(self) -> Tensor:
        """Returns the mean over the examples."""
        return _seen(self._sum) / self._count


class Moments:
    """Means, variances and covariances of the units over all examples and places together."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Takes the values of some examples, `(n, units, places)`."""
        flat = _exact(values.transpose(0, 1).flatten(1))  # (units, n * places)
        count, mean = flat.shape[1], flat.mean(1)
        scatter = self._spread(flat - mean[:, None])
        if self._mean is None or self._scatter is None:
            self._count, self._mean, self._scatter = count, mean, scatter
            return
        step, total = mean - self._mean, self._count + count
        between = self._spread(step[:, None]) * (self._count * count / total)
        self._scatter = self._scatter + scatter + between
        self._mean = self._mean + step * (count / total)
        self._count = total

    def _spread(self, centred: Tensor) -> Tensor:
        """Returns the summed products of deviations that `result` needs."""
        return centred.square().sum(1)

    def result(self) -> Tensor:
        """Returns the variance of each unit (divided by the count, not the count less one)."""
        return _seen(self._scatter) / self._count


class Redundancy(Moments):
    """The standard deviation that is left of a unit once another one has explained it.

    `s_i = sigma_i sqrt(1 - max_j rho_ij^2)` over the units `j` of larger variance (or the same and
    an earlier place): zero for a unit that is constant or a multiple of a stronger one, which are
    the two rules of Sietsma and Dow (1991).
    """

    def _spread(self, centred: Tensor) -> Tensor:
        return centred @ centred.t()

    def result(self) -> Tensor:
        """Returns the residual standard deviation of each unit."""
        covariance = _seen(self._scatter) / self._count
        variance = covariance.diagonal().clamp(min=0)
        order = torch.argsort(variance, descending=True, stable=True)
        sigma = variance.sqrt()
        scale = torch.outer(sigma, sigma)
        rho = torch.where(scale > 0, covariance / scale, torch.zeros_like(covariance))
        squares = rho[order][:, order].square().clamp(max=1).tril(-1)  # only stronger ones
        left = torch.empty_like(sigma)
        left[order] = (1 - squares.max(1).values).sqrt()
        return sigma * left


class MedianDistance:
    """The summed distance of a unit's values to those of all others.

    `s_i = sum_j ||x_i - x_j||_2`: the unit nearest to the geometric median of all is the one that
    the others replace best (FPGM, He et al. 2019, arXiv:1811.00250).
    """

    def __init__(self) -> None:
        self._squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Takes the values of some examples, `(n, units, places)`."""
        flat = _exact(values.transpose(0, 1).flatten(1))
        flat = flat - flat.mean(0)  # distances stay, and less is lost in the difference below
        products = flat @ flat.t()
        sizes = products.diagonal()
        exact = (sizes[:, None] + sizes - 2 * products).clamp(min=0)
        self._squares = exact if self._squares is None else self._squares + exact

    def result(self) -> Tensor:
        """Returns the summed distances."""
        return _seen(self._squares).sqrt().sum(1)


def _exact(values: Tensor) -> Tensor:
    return values.detach().cpu().to(torch.float64)


def _seen(total: Tensor | None) -> Tensor:
    if total is None:
        raise RuntimeError("a reduction gives its result after values were added")
    return total


REDUCTIONS: dict[str, Callable[[], Reduction]] = {
    "sum": lambda: PerExample(lambda v: v.sum(2)),
    "mean": lambda: PerExample(lambda v: v.mean(2)),
    "max": lambda: PerExample(lambda v: v.amax(2)),
    "l2": lambda: PerExample(lambda v: v.square().sum(2).sqrt()),
    "abs_sum": lambda: PerExample(lambda v: v.sum(2).abs()),
    "square_sum": lambda: PerExample(lambda v: v.sum(2).square()),
    "variance": Moments,
    "redundancy": Redundancy,
    "median_distance": MedianDistance,
}
