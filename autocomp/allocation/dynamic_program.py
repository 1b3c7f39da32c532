"""The exact solver for one budget: fronts of partial plans, kept for every layer on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.pareto import Floats, Ints, pareto_front
from autocomp.errors import AutocompError, BudgetError

POINTS = 1 << 15
"""Partial plans kept a layer."""
QUICK_POINTS = 1 << 11
"""The same where a plan is decoded from multipliers, many times a search."""
_SORTED = 4
"""Up to so many times `points` sums are sorted, which is exact; more go into cost buckets."""

Front = tuple[Ints, Floats]
"""Costs, rising, and losses, falling, of partial plans none of which undercuts another."""


class DynamicProgram:
    """V_t(b) = min_i loss_t(i) + V_{t+1}(b - cost_t(i)): least loss of layers t, ... within b.

    V_t is kept as a front of partial plans with their true integer costs. Dropped are those that
    another one undercuts and those that no longer fit behind the cheapest choices of the layers
    before; that loses nothing. A front of more than `points` is thinned to the least loss in each
    of `points` cost buckets. The first bucket holds the cheapest partial plan alone, so whatever
    can be completed still can be, and costs stay exact. Cost buckets one unit wide lose nothing.
    What thinning left of the budget is spent by `Knapsack.refill`.

    Attributes:
        plan: the plan of least loss, as choice indices; walking with multipliers 1 gives it, too.

    Args:
        model: losses, and costs in one budget.
        points: partial plans kept a layer, at least 2; time and memory grow with it.

    Raises:
        AutocompError: for several budgets, or fewer than 2 points.
    """

    def __init__(self, model: Knapsack, points: int = POINTS) -> None:
        if model.limits.size != 1 or points < 2:
            raise AutocompError(
                "`dp` solves for one budget with points >= 2, but got "
                f"{model.limits.size} budgets, points={points}; use `ilp` for several."
            )
        self.model = model
        self._indices = [model.options(t) for t in range(len(model))]
        self._costs = [c[i, 0] for c, i in zip(model.costs, self._indices, strict=True)]
        self._losses = [x[i] for x, i in zip(model.losses, self._indices, strict=True)]
        room = int(model.limits[0]) - np.cumsum([0, *(int(c[0]) for c in self._costs)])
        self._fronts: list[Front] = [(np.zeros(1, np.int64), np.zeros(1))]
        for t in reversed(range(len(model))):
            choices = self._costs[t], self._losses[t]
            self._fronts.append(_join(choices, self._fronts[-1], int(room[t]), points))
        self._fronts.reverse()
        self.plan = self._settle()

    def value(self, step: int, left: Ints) -> Floats:
        """Returns V_step at each of `left`; infinite where nothing fits."""
        costs, losses = self._fronts[step]
        at = np.searchsorted(costs, left, side="right") - 1
        return np.where(at >= 0, losses[np.maximum(at, 0)], np.inf)

    def choose(self, step: int, used: Ints, multiplier: float = 1.0) -> int:
        """Returns argmin_i multiplier * loss_step(i) + V_{step+1}(what is left).

        Raises:
            BudgetError: if nothing fits; that cannot happen along choices of this solver.
        """
        own, later = self._terms(step, used)
        total = multiplier * own + later
        best = int(total.argmin())
        if not np.isfinite(total[best]):
            raise BudgetError("No choice is left that meets the budget; start the plan again.")
        return int(self._indices[step][best])

    def interval(self, step: int, used: Ints, index: int) -> tuple[float, float] | None:
        """Returns the multipliers for which `choose` gives `index`; None if there are none."""
        (place,) = np.nonzero(self._indices[step] == index)
        own, later = self._terms(step, used)
        if not place.size or not np.isfinite(later[place[0]]):
            return None
        i = int(place[0])
        # m * (own_i - own_j) <= later_j - later_i for all j; own falls with j
        less, gap = own[i] - own, later - later[i]
        high = float((gap[i + 1 :] / less[i + 1 :]).min(initial=np.inf))
        low = float((gap[:i] / less[:i]).max(initial=0.0))
        return (low, high) if low <= high else None

    def _settle(self) -> list[int]:
        """Returns the plan that both the walk and the refill end with."""
        walked, least = self._walk(), np.inf
        while self._fronts[0][1][-1] < least:
            least = self._fronts[0][1][-1]
            self._learn(self.model.refill(walked))  # a plan that thinning had lost
            walked = self._walk()
        return walked

    def reweighted(self, multipliers: Floats) -> list[int]:
        """Returns the plan of least sum_t multiplier_t * loss_t, refilled by the same losses."""
        if np.ptp(multipliers) == 0:  # a common factor changes nothing
            return list(self.plan)
        return self.solved(self.model.reweighted(multipliers).losses)

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """Returns the plan of least summed loss for other losses of the same choices."""
        return DynamicProgram(self.model.with_losses(losses), QUICK_POINTS).plan

    def _terms(self, step: int, used: Ints) -> tuple[Floats, Floats]:
        left = int(self.model.limits[0]) - int(np.asarray(used).reshape(-1)[0]) - self._costs[step]
        return self._losses[step], self.value(step + 1, left)

    def _walk(self) -> list[int]:
        used = np.zeros(1, np.int64)
        indices = []
        for t, costs in enumerate(self.model.costs):
            indices.append(self.choose(t, used))
            used = used + costs[indices[-1]]
        return indices

    def _learn(self, indices: Sequence[int]) -> None:
        """Adds a plan's partial plans to the fronts."""
        cost, loss = 0, 0.0
        for t in reversed(range(len(indices))):
            cost = int(self.model.costs[t][indices[t], 0]) + cost
            loss = float(self.model.losses[t][indices[t]]) + loss
            costs, losses = self._fronts[t]
            self._fronts[t] = _front(np.append(costs, cost), np.append(losses, loss))


def _join(choices: Front, front: Front, room: int, points: int) -> Front:
    """Returns the front of every choice with every partial plan behind it that fits into `room`."""
    fitting = np.searchsorted(front[0], room - choices[0], side="right")
    least = int(choices[0][0] + front[0][0])
    width = max(1, -(-(room - least) // (points - 1)))
    if fitting.sum() > _SORTED * points:
        return _bucketed(choices, front, fitting, least, width, room)
    pairs = list(zip(choices[0].tolist(), choices[1].tolist(), fitting.tolist(), strict=True))
    costs = np.concatenate([front[0][:n] + cost for cost, _, n in pairs])
    losses = np.concatenate([front[1][:n] + loss for _, loss, n in pairs])
    joined = _front(costs, losses)
    if len(joined[0]) <= points:
        return joined
    nothing = np.zeros(1, np.int64), np.zeros(1)
    return _bucketed(nothing, joined, np.array([len(joined[0])]), least, width, room)


def _front(costs: Ints, losses: Floats) -> Front:
    kept = pareto_front(costs, losses)
    return costs[kept], losses[kept]


def _bucketed(
    choices: Front, front: Front, fitting: Ints, least: int, width: int, room: int
) -> Front:
    """Returns the least loss in each bucket ceil((cost - least) / width), with its own cost."""
    size = -(-(room - least) // width) + 1
    best_costs, best_losses = np.zeros(size, np.int64), np.full(size, np.inf)
    costs, losses = front
    shifted = costs - least + (width - 1)
    for cost, loss, n in zip(*(x.tolist() for x in (*choices, fitting)), strict=True):
        buckets = shifted[:n] + cost
        if width > 1:
            buckets //= width
        summed = losses[:n] + loss
        (better,) = np.nonzero(summed < best_losses[buckets])
        # losses fall, so where a bucket comes twice the last one written is the least
        into = buckets[better]
        best_losses[into] = summed[better]
        best_costs[into] = costs[better] + cost
    kept = np.r_[True, best_losses[1:] < np.minimum.accumulate(best_losses)[:-1]]
    return best_costs[kept], best_losses[kept]
