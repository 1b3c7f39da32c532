"""Completions where a layer's cost depends on what its neighbours keep: exact, on whole numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autocomp.allocation.allocation import Mask
from autocomp.allocation.pareto import Ints
from autocomp.errors import BudgetError

Levels = tuple[int, ...]
CostTable = Callable[[int, Levels], Ints]


@dataclass(frozen=True)
class Coupling:
    """Which groups each layer's cost depends on.

    Every group has a leader, which reads it and offers each of its levels.

    Attributes:
        n_levels: per group, how many counts of units can be kept; level 0 keeps the fewest.
        leads: per layer, the group that it decides, or -1.
        own: per layer, the level of that group in each of its choices (zeros where it leads none).
        reads: per layer, the groups on which its cost depends, in the order of a cost table's
            levels.
        table: `(layer, levels of the groups that it reads) -> (n_choices, n_budgets)`, the cost of
            each choice. Where the layer leads one of them, only the choices with that level count.
    """

    n_levels: tuple[int, ...]
    leads: tuple[int, ...]
    own: tuple[Ints, ...]
    reads: tuple[tuple[int, ...], ...]
    table: CostTable


class CoupledCosts:
    """Feasible choices, layer by layer, where the leaders of groups decide other layers' shapes.

    A group is decided by its first layer in forward order, so every layer's shape is known once it
    is reached. Fewer units never cost more; the cheapest completion keeps the fewest units of every
    group that is open, and in every layer the choice that is cheapest then. That completion is a
    real plan: what is called feasible is. It is exact wherever one choice of a layer is the
    cheapest in every budget at once, as the most compressed one is.

    See `Costs` for the methods and `Completions` for the minimum utilisation.

    Attributes:
        coupling: which groups each layer's cost depends on.
    """

    def __init__(self, coupling: Coupling, limits: Ints, min_utilisation: float = 0.0) -> None:
        self.limits = np.asarray(limits, np.int64)
        self.min_utilisation = min_utilisation
        self.coupling = coupling
        self._tables: dict[tuple[int, Levels], Ints] = {}
        self._ends: dict[tuple[int, Levels, bool], Ints] = {}
        n = len(coupling.leads)
        top = {g: k - 1 for g, k in enumerate(coupling.n_levels)}
        largest = [-int(self._end(t, top, high=True).max()) for t in range(n)]
        self.order: Sequence[int] = np.argsort(largest, kind="stable").tolist()

    @property
    def cheapest(self) -> Ints:
        """See `Costs`."""
        return self.bounds(())[0]

    @property
    def dearest(self) -> Ints:
        """See `Costs`."""
        return self.bounds(())[1]

    @property
    def possible(self) -> bool:
        """Whether the cheapest plan meets every budget."""
        return bool((self.cheapest <= self.limits).all())

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """See `Costs`.

        Raises:
            BudgetError: if no choice is feasible; that cannot happen along feasible choices.
        """
        step = len(prefix)
        levels = self.levels(prefix)
        group, own = self.coupling.leads[step], self.coupling.own[step]
        spent = self.spent(prefix)
        n = len(own)
        allowed, near = np.zeros(n, bool), np.zeros(n, bool)
        for level in np.unique(own).tolist():
            here = {**levels, group: level} if group >= 0 else levels
            after = spent + self.costs_of(step, here)
            low, high = self._rest(step + 1, here)
            of_level = own == level
            fits = (after + low <= self.limits).all(1) & of_level
            allowed |= fits
            near |= fits & (after + high >= self.min_utilisation * self.limits).any(1)
        if not allowed.any():
            raise BudgetError("No choice is left that meets the budgets; start the plan again.")
        return near if enforce_utilisation and near.any() else allowed

    def spent(self, prefix: Sequence[int]) -> Ints:
        """See `Costs`."""
        levels = self.levels(prefix)
        used: Ints = np.zeros_like(self.limits)
        for step, index in enumerate(prefix):
            used = used + self.costs_of(step, levels)[index]
        return used

    def bounds(self, prefix: Sequence[int]) -> tuple[Ints, Ints]:
        """See `Costs`."""
        return self._rest(len(prefix), self.levels(prefix))

    def alternatives(self, indices: Sequence[int], step: int) -> Ints:
        """See `Costs`."""
        coupling = self.coupling
        group, own = coupling.leads[step], coupling.own[step]
        levels = self.levels(indices)
        total = self.total(indices)
        before = self.costs_of(step, levels)[indices[step]]
        if group < 0:
            changed: Ints = total - before + self.costs_of(step, levels)
            return changed
        result = np.zeros((len(own), len(self.limits)), np.int64)
        others = [t for t, reads in enumerate(coupling.reads) if group in reads and t != step]
        fixed = (
            total
            - before
            - sum(
                (self.costs_of(t, levels)[indices[t]] for t in others), np.zeros_like(self.limits)
            )
        )
        for level in np.unique(own).tolist():
            here = {**levels, group: level}
            moved = fixed + sum(
                (self.costs_of(t, here)[indices[t]] for t in others), np.zeros_like(self.limits)
            )
            rows = own == level
            result[rows] = moved + self.costs_of(step, here)[rows]
        return result

    def own(self, indices: Sequence[int], step: int) -> Ints:
        """See `Costs`."""
        totals = self.alternatives(indices, step)
        return np.asarray(totals - totals.min(0), np.int64)

    def total(self, indices: Sequence[int]) -> Ints:
        """See `Costs`."""
        return self.spent(indices)

    def meets(self, indices: Sequence[int]) -> bool:
        """See `Costs`."""
        return bool((self.total(indices) <= self.limits).all())

    def under(self, limits: Ints) -> CoupledCosts:
        """Returns the same layers within other limits; what is counted already is shared."""
        other = copy.copy(self)
        other.limits = np.asarray(limits, np.int64)
        other._ends = {}  # which completion is the cheapest is a matter of limits
        return other

    def levels(self, prefix: Sequence[int]) -> dict[int, int]:
        """Returns the level of every group that the first layers decide."""
        coupling = self.coupling
        return {
            coupling.leads[t]: int(coupling.own[t][index])
            for t, index in enumerate(prefix)
            if coupling.leads[t] >= 0
        }

    def costs_of(self, step: int, levels: Mapping[int, int]) -> Ints:
        """Returns `(n_choices, n_budgets)`: a layer's costs at the levels of the groups it reads.

        Where the layer leads a group, only the choices with that group's level count.
        """
        return self._table(step, tuple(levels[g] for g in self.coupling.reads[step]))

    def _rest(self, step: int, levels: dict[int, int]) -> tuple[Ints, Ints]:
        """Returns the cheapest and dearest costs of the layers from `step` on."""
        low: Ints = np.zeros_like(self.limits)
        high: Ints = np.zeros_like(self.limits)
        for t in range(step, len(self.coupling.leads)):
            low = low + self._end(t, levels, high=False)
            high = high + self._end(t, levels, high=True)
        return low, high

    def _end(self, step: int, levels: dict[int, int], *, high: bool) -> Ints:
        """Returns a layer's least or largest costs, groups that are open at their least or most."""
        coupling = self.coupling
        here = tuple(
            levels.get(g, coupling.n_levels[g] - 1 if high else 0) for g in coupling.reads[step]
        )
        key = (step, here, high)
        if key not in self._ends:
            costs = self._table(step, here)
            group = coupling.leads[step]
            if group >= 0:
                level = here[coupling.reads[step].index(group)]
                costs = costs[coupling.own[step] == level]
            if high:
                self._ends[key] = costs.max(0)
            else:  # one choice, so that the completion exists
                shares = (costs / np.maximum(self.limits, 1)).max(1)
                least = (costs == costs.min(0)).all(1)
                best = int(least.argmax()) if least.any() else int(shares.argmin())
                self._ends[key] = costs[best]
        return self._ends[key]

    def _table(self, step: int, levels: Levels) -> Ints:
        key = (step, levels)
        if key not in self._tables:
            self._tables[key] = self.coupling.table(step, levels)
        return self._tables[key]
