"""Which choices can still meet every budget: exact, on whole numbers, at every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocomp.allocation.allocation import Mask
from autocomp.allocation.pareto import Ints, pareto_front
from autocomp.errors import BudgetError

FRONT_OF_TWO = 1 << 13
"""Cheapest completions kept per step for two budgets; one budget needs one."""
FRONT = 256
"""The same for three budgets and more, where each query looks at all of them."""


class Completions:
    """Feasible choices layer by layer, for all budgets at once.

    `used` is the vector of costs spent so far. A choice of layer t is feasible if some completion
    of the layers after t keeps every budget. For one budget that is the suffix sum of the cheapest
    choices; for several it is the front of completions none of which is cheaper in every cost.
    A front longer than `FRONT` is thinned to completions that exist, so a choice that is called
    feasible always is; only then can a feasible one be missed.

    The minimum utilisation keeps a search near its budget: choices after which even the dearest
    completion would stay below `min_utilisation * limit` in every budget are left out, unless
    nothing else is feasible.

    Attributes:
        costs: per layer, an int64 array `(n_choices, n_budgets)`.
        limits: int64 array `(n_budgets,)`: what all layers together may cost.
    """

    def __init__(self, costs: Sequence[Ints], limits: Ints, min_utilisation: float = 0.0) -> None:
        self.costs = [np.asarray(c, np.int64) for c in costs]
        self.limits = np.asarray(limits, np.int64)
        self.min_utilisation = min_utilisation
        self._fronts = _suffix_fronts(self.costs)
        self._dearest = _suffix_dearest(self.costs)

    @property
    def cheapest(self) -> Ints:
        """Least total cost in each budget, each taken alone."""
        least: Ints = np.sum([c.min(0) for c in self.costs], axis=0)
        return least

    @property
    def dearest(self) -> Ints:
        """Largest total cost in each budget."""
        return self._dearest[0]

    @property
    def possible(self) -> bool:
        """Whether any plan meets every budget, as `mask` finds it."""
        return bool(self._allowed(0, np.zeros_like(self.limits)).any())

    def mask(self, step: int, used: Ints, enforce_utilisation: bool = True) -> Mask:
        """Returns which choices of layer `step` are feasible after spending `used`.

        Raises:
            BudgetError: if none is; that cannot happen along feasible choices.
        """
        after = used + self.costs[step]
        allowed = self._allowed(step, used)
        if not allowed.any():
            raise BudgetError("No choice is left that meets the budgets; start the plan again.")
        if enforce_utilisation and self.min_utilisation > 0:
            reach = after + self._dearest[step + 1] >= self.min_utilisation * self.limits
            near: Mask = allowed & reach.any(1)
            if near.any():
                return near
        return allowed

    def _allowed(self, step: int, used: Ints) -> Mask:
        left = self.limits - used - self.costs[step]
        front = self._fronts[step + 1]
        if front.shape[1] == 2:  # sorted by the first cost, falling in the second
            last = np.searchsorted(front[:, 0], left[:, 0], side="right") - 1
            fits: Mask = (last >= 0) & (front[np.maximum(last, 0), 1] <= left[:, 1])
            return fits
        return np.asarray(np.all(front[None] <= left[:, None], axis=2).any(axis=1))

    def bounds(self, step: int) -> tuple[Ints, Ints]:
        """Returns the cheapest (each budget alone) and dearest completion from layer `step` on."""
        return self._fronts[step].min(0), self._dearest[step]

    def total(self, indices: Sequence[int]) -> Ints:
        """Returns the cost vector of a whole plan of choice indices."""
        summed: Ints = np.sum([c[i] for c, i in zip(self.costs, indices, strict=True)], axis=0)
        return summed

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the whole plan meets every budget."""
        return bool((self.total(indices) <= self.limits).all())


def _suffix_fronts(costs: Sequence[Ints]) -> list[Ints]:
    fronts = [np.zeros((1, costs[0].shape[1]), np.int64)]
    for choices in reversed(costs):
        sums = (fronts[-1][:, None] + _front(choices)[None]).reshape(-1, choices.shape[1])
        fronts.append(_thin(_front(sums)))
    return fronts[::-1]


def _front(vectors: Ints) -> Ints:
    """Returns the vectors that no other one undercuts in every cost, sorted."""
    return vectors[pareto_front(*vectors.T)]


def _thin(front: Ints) -> Ints:
    """Returns at most so many completions: each cost's cheapest, the rest evenly spread."""
    most = FRONT_OF_TWO if front.shape[1] == 2 else FRONT
    if len(front) <= most:
        return front
    chosen = set(np.linspace(0, len(front) - 1, most - front.shape[1]).astype(int).tolist())
    chosen |= set(front.argmin(0).tolist())
    return front[sorted(chosen)]


def _suffix_dearest(costs: Sequence[Ints]) -> list[Ints]:
    sums = [np.zeros(costs[0].shape[1], np.int64)]
    for choices in reversed(costs):
        sums.append(sums[-1] + choices.max(0))
    return sums[::-1]
