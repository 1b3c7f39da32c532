"""Levels that groups take at a price per unit of the budget, and the best plan at given levels."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from autocomp.allocation.allocation import summed_loss
from autocomp.allocation.coupling import CoupledCosts, Levels
from autocomp.allocation.dynamic_program import POINTS, QUICK_POINTS
from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.pareto import Floats, Ints
from autocomp.allocation.solver import make_solver
from autocomp.errors import BudgetError

_BISECTIONS = 40
_DOUBLINGS = 80
_ROUNDS = 12
_TRIED = 24
"""Neighbouring levels that are looked at a round."""
_PAIRED = 48
"""Changes of one group that are tried together with another."""
_GAP = 1e-3
"""Distance from the dual bound, as a share of the loss, at which there is nothing left to gain."""


class Relaxation:
    """Minimises summed losses within one budget, when costs depend on the levels of groups.

    With a price p on the budget (Everett 1963, doi:10.1287/opre.11.3.399) the problem falls apart:

        min_v sum_t h_t(v),    h_t(v) = min_i loss_t(i) + p cost_t(i, v)

    over levels v, where h_t depends on the few groups that layer t reads. Levels are found group by
    group, from all units on, until none changes (a dozen sweeps at most); where no layer reads two
    groups this is the minimum. At fixed levels costs add up, and the plan is the exact solver's. Of
    the levels that differ in one group or two those of the lowest bounds, sum_t h_t(v) - p limit,
    are tried where that lies below the best plan's loss, a few dozen a round, until the loss is
    near the bound.

    Args:
        constraint: costs and the limit.
        losses: per layer, each choice's loss.
    """

    def __init__(self, constraint: CoupledCosts, losses: Sequence[Floats]) -> None:
        self.constraint = constraint
        self.losses = [np.asarray(x, np.float64) for x in losses]
        coupling = constraint.coupling
        self._tops = tuple(n - 1 for n in coupling.n_levels)
        self._readers: list[set[int]] = [set() for _ in coupling.n_levels]
        for t, reads in enumerate(coupling.reads):
            for group in reads:
                self._readers[group].add(t)
        self._offered = [
            {level: np.flatnonzero(own == level) for level in np.unique(own).tolist()}
            for own in coupling.own
        ]
        self._price = 0.0
        self._cheapest: dict[tuple[int, Levels], tuple[float, int]] = {}

    def plan(self) -> list[int] | None:
        """Returns the best plan found, as choice indices; None if none meets the budget.

        Only for one budget.
        """
        best: list[int] | None = None
        seen: set[Levels] = set()
        for levels in self._priced():
            best = self._better(best, levels, seen)
        if best is None:
            return None
        least = self._bound(self._at_price(self._price))
        for _ in range(_ROUNDS):
            before = best
            for bound, levels in self._neighbours(self.levels(best), seen):
                if self.loss(best) - least <= _GAP * self.loss(best):
                    break
                if bound < self.loss(best):
                    best = self._better(best, levels, seen) or best
            if best is before:
                break
        exact = self.at(self.levels(best))
        return best if exact is None or self.loss(best) < self.loss(exact) else exact

    def at(self, levels: Levels, points: int = POINTS) -> list[int] | None:
        """Returns the exact solver's plan with these levels; None if none meets every budget.

        Args:
            levels: the level of every group.
            points: for one budget, partial plans that the solver keeps a layer.
        """
        here = dict(enumerate(levels))
        costs, losses, offered = [], [], []
        limits = self.constraint.limits.copy()
        for t, x in enumerate(self.losses):
            some = self._choices(t, here)
            cost = self.constraint.costs_of(t, here)[some]
            least = np.minimum(cost.min(0), 0)  # units may take more along than the layer costs
            limits -= least
            costs.append(cost - least)
            losses.append(x[some])
            offered.append(some)
        try:
            plan = make_solver(Knapsack(costs, losses, limits), points).plan
        except BudgetError:
            return None
        return [int(some[i]) for some, i in zip(offered, plan, strict=True)]

    def levels(self, indices: Sequence[int]) -> Levels:
        """Returns the level that a plan gives every group."""
        levels = self.constraint.levels(indices)
        return tuple(levels[g] for g in range(len(self._tops)))

    def loss(self, indices: Sequence[int]) -> float:
        """Returns a plan's summed loss."""
        return summed_loss(self.losses, indices)

    def _better(
        self, best: list[int] | None, levels: Levels, seen: set[Levels]
    ) -> list[int] | None:
        """Returns the plan with these levels if they are new and it loses less, else `best`."""
        if levels in seen:
            return best
        seen.add(levels)
        plan = self.at(levels, QUICK_POINTS)
        if plan is None or (best is not None and self.loss(plan) >= self.loss(best) - 1e-15):
            return best
        return plan

    def _priced(self) -> Iterator[Levels]:
        """Yields the levels on both sides of the price at which the budget is just met.

        Only the levels at no price if they meet it; the fewest units if no price does. Bounds are
        of the last price.
        """
        limit = int(self.constraint.limits[0])
        low, high = 0.0, max(float(x.max() - x.min()) for x in self.losses) / max(limit, 1)
        free = self._at_price(low)
        yield free
        if self._cost(free) <= limit:
            return
        high = high or 1.0
        for _ in range(_DOUBLINGS):
            if self._cost(self._at_price(high)) <= limit:
                break
            low, high = high, 2 * high
        else:
            yield tuple(0 for _ in self._tops)
            return
        exceeding = free
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            levels = self._at_price(middle)
            if self._cost(levels) <= limit:
                high = middle
            else:
                low, exceeding = middle, levels
        yield exceeding
        yield self._at_price(high)

    def _at_price(self, price: float) -> Levels:
        """Returns the levels of least loss and price, as far as going group by group finds them."""
        if price != self._price:
            self._price = price
            self._cheapest.clear()
        here = list(self._tops)
        for _ in range(_ROUNDS):
            before = list(here)
            for group, readers in enumerate(self._readers):
                values = []
                for level in range(self._tops[group] + 1):
                    here[group] = level
                    values.append(sum(self._least(t, here)[0] for t in readers))
                here[group] = int(np.argmin(values))
            if here == before:
                break
        return tuple(here)

    def _bound(self, levels: Levels) -> float:
        """Returns a loss below which no plan with these levels lies."""
        return self._value(levels)[0] - self._price * int(self.constraint.limits[0])

    def _cost(self, levels: Levels) -> int:
        return self._value(levels)[1]

    def _value(self, levels: Sequence[int]) -> tuple[float, int]:
        """Returns the priced loss of the layers' best choices with these levels, and their cost."""
        pairs = [self._least(t, levels) for t in range(len(self.losses))]
        return sum(value for value, _ in pairs), sum(cost for _, cost in pairs)

    def _least(self, step: int, levels: Sequence[int]) -> tuple[float, int]:
        key = (step, tuple(levels[g] for g in self.constraint.coupling.reads[step]))
        if key not in self._cheapest:
            here = dict(enumerate(levels))
            some = self._choices(step, here)
            costs = self.constraint.costs_of(step, here)[some, 0]
            values = self.losses[step][some] + self._price * costs
            i = int(values.argmin())
            self._cheapest[key] = (float(values[i]), int(costs[i]))
        return self._cheapest[key]

    def _choices(self, step: int, levels: Mapping[int, int]) -> Ints:
        group = self.constraint.coupling.leads[step]
        return self._offered[step][levels[group] if group >= 0 else 0]

    def _neighbours(self, levels: Levels, seen: set[Levels]) -> list[tuple[float, Levels]]:
        """Returns changes of one group, or of two, with their bounds, the lowest first."""
        base = self._bound(levels)
        singles = []
        for group, here in enumerate(levels):
            for other in range(self._tops[group] + 1):
                if other != here:
                    changed = (*levels[:group], other, *levels[group + 1 :])
                    bound = base + self._change(levels, changed, self._readers[group])
                    singles.append((bound, group, changed))
        singles.sort()
        pairs = []
        for (x, g, first), (y, h, second) in itertools.combinations(singles[:_PAIRED], 2):
            if g != h:
                changed = tuple(second[k] if k == h else v for k, v in enumerate(first))
                bound = x + y - base
                if shared := self._readers[g] & self._readers[h]:
                    bound -= self._change(levels, first, shared)
                    bound += self._change(second, changed, shared)
                pairs.append((bound, changed))
        every = [*((bound, changed) for bound, _, changed in singles), *pairs]
        return heapq.nsmallest(_TRIED, (pair for pair in every if pair[1] not in seen))

    def _change(self, before: Levels, after: Levels, steps: Iterable[int]) -> float:
        """Returns by how much the priced losses of some layers rise between two sets of levels."""
        return sum(self._least(t, after)[0] - self._least(t, before)[0] for t in steps)
