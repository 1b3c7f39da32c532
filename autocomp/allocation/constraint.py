"""Which plans meet the budgets, and which beginnings of plans still can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autocomp.allocation.feasibility import Costs, Feasibility, Mask


class Constraint(Protocol):
    """What menus, environments and agents ask; a plan is one choice index a layer.

    Attributes:
        limits: int64 `(n_budgets,)`: what all layers together may cost.
        order: the layers, the dearest first.
    """

    limits: Costs
    order: Sequence[int]

    @property
    def cheapest(self) -> Costs:
        """Least total cost in each budget, each taken alone."""
        ...

    @property
    def dearest(self) -> Costs:
        """Largest total cost in each budget."""
        ...

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """Returns which choices of the next layer leave a completion that meets every budget."""
        ...

    def spent(self, prefix: Sequence[int]) -> Costs:
        """Returns the costs of the layers that are decided."""
        ...

    def bounds(self, prefix: Sequence[int]) -> tuple[Costs, Costs]:
        """Returns the cheapest and dearest costs of the layers that are not decided."""
        ...

    def alternatives(self, indices: Sequence[int], step: int) -> Costs:
        """Returns `(n_choices, n_budgets)`: the plan's cost if layer `step` took each choice."""
        ...

    def total(self, indices: Sequence[int]) -> Costs:
        """Returns the cost vector of a whole plan."""
        ...

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the whole plan meets every budget."""
        ...


class SeparableConstraint:
    """A layer's cost depends on its own choice only; see `Feasibility`.

    Attributes:
        costs: per layer, int64 `(n_choices, n_budgets)`.
    """

    def __init__(self, feasibility: Feasibility) -> None:
        self._feasibility = feasibility
        self.limits = feasibility.limits
        self.costs = feasibility.costs
        largest = [-int(costs.max()) for costs in self.costs]
        self.order: Sequence[int] = np.argsort(largest, kind="stable").tolist()

    @property
    def cheapest(self) -> Costs:
        """See `Constraint`."""
        return self._feasibility.cheapest

    @property
    def dearest(self) -> Costs:
        """See `Constraint`."""
        return self._feasibility.dearest

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """See `Constraint`."""
        return self._feasibility.mask(len(prefix), self.spent(prefix), enforce_utilisation)

    def spent(self, prefix: Sequence[int]) -> Costs:
        """See `Constraint`."""
        used: NDArray[np.int64] = np.zeros_like(self.limits)
        for costs, index in zip(self.costs, prefix, strict=False):
            used = used + costs[index]
        return used

    def bounds(self, prefix: Sequence[int]) -> tuple[Costs, Costs]:
        """See `Constraint`."""
        return self._feasibility.bounds(len(prefix))

    def alternatives(self, indices: Sequence[int], step: int) -> Costs:
        """See `Constraint`."""
        costs = self.costs[step]
        changed: Costs = self.total(indices) - costs[indices[step]] + costs
        return changed

    def total(self, indices: Sequence[int]) -> Costs:
        """See `Constraint`."""
        return self._feasibility.total(indices)

    def meets(self, indices: Sequence[int]) -> bool:
        """See `Constraint`."""
        return self._feasibility.meets(indices)
