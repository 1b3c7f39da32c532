"""Allocation where a layer's cost depends on its own choice alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from autocomp.allocation.allocation import Mask, summed_loss, summed_losses
from autocomp.allocation.completions import Completions
from autocomp.allocation.integer_program import IntegerProgram
from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.pareto import Floats, Ints
from autocomp.allocation.solver import Solver, make_solver


class SeparableCosts:
    """A layer's cost depends on its own choice only; see `Completions`.

    Args:
        costs: per layer, int64 `(n_choices, n_budgets)`.
        limits: int64 `(n_budgets,)`: what all layers together may cost.
        min_utilisation: share of the budgets that plans made layer by layer have to spend.
    """

    def __init__(self, costs: Sequence[Ints], limits: Ints, min_utilisation: float = 0.0) -> None:
        self._completions = Completions(costs, limits, min_utilisation)
        self.limits = self._completions.limits
        self.costs = self._completions.costs
        largest = [-int(costs.max()) for costs in self.costs]
        self.order: Sequence[int] = np.argsort(largest, kind="stable").tolist()

    @property
    def cheapest(self) -> Ints:
        """See `Costs`."""
        return self._completions.cheapest

    @property
    def dearest(self) -> Ints:
        """See `Costs`."""
        return self._completions.dearest

    @property
    def possible(self) -> bool:
        """See `Costs`."""
        return self._completions.possible

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """See `Costs`."""
        return self._completions.mask(len(prefix), self.spent(prefix), enforce_utilisation)

    def spent(self, prefix: Sequence[int]) -> Ints:
        """See `Costs`."""
        used: Ints = np.zeros_like(self.limits)
        for costs, index in zip(self.costs, prefix, strict=False):
            used = used + costs[index]
        return used

    def bounds(self, prefix: Sequence[int]) -> tuple[Ints, Ints]:
        """See `Costs`."""
        return self._completions.bounds(len(prefix))

    def alternatives(self, indices: Sequence[int], step: int) -> Ints:
        """See `Costs`."""
        costs = self.costs[step]
        changed: Ints = self.total(indices) - costs[indices[step]] + costs
        return changed

    def own(self, indices: Sequence[int], step: int) -> Ints:
        """See `Costs`."""
        return self.costs[step]

    def total(self, indices: Sequence[int]) -> Ints:
        """See `Costs`."""
        return self._completions.total(indices)

    def meets(self, indices: Sequence[int]) -> bool:
        """See `Costs`."""
        return self._completions.meets(indices)


class SeparableAllocation(SeparableCosts):
    """Losses and costs that add up over layers: the exact solvers' problem.

    Args:
        costs: per layer, int64 `(n_choices, n_budgets)`.
        limits: int64 `(n_budgets,)`.
        losses: gives, per layer, each choice's loss; asked once, when a loss is first needed.
        min_utilisation: see `SeparableCosts`.
    """

    separable = True

    def __init__(
        self,
        costs: Sequence[Ints],
        limits: Ints,
        losses: Callable[[], Sequence[Floats]],
        min_utilisation: float = 0.0,
    ) -> None:
        super().__init__(costs, limits, min_utilisation)
        self._measure = losses

    @cached_property
    def losses(self) -> list[Floats]:
        """See `Allocation`."""
        return [np.asarray(x, np.float64) for x in self._measure()]

    @cached_property
    def knapsack(self) -> Knapsack:
        """What the solvers solve; BudgetError if the budgets are out of reach."""
        return Knapsack(self.costs, self.losses, self.limits)

    @cached_property
    def _solver(self) -> Solver:
        return make_solver(self.knapsack)

    @property
    def plan(self) -> list[int]:
        """See `Allocation`."""
        return self._solver.plan

    def reweighted(self, multipliers: Floats) -> list[int]:
        """See `Allocation`."""
        return self._solver.reweighted(multipliers)

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """See `Allocation`."""
        return self._solver.solved(losses)

    def choose(self, prefix: Sequence[int], multiplier: float = 1.0) -> int:
        """See `Allocation`."""
        return self._solver.choose(len(prefix), self.spent(prefix), multiplier)

    def interval(self, prefix: Sequence[int], index: int) -> tuple[float, float] | None:
        """See `Allocation`."""
        return self._solver.interval(len(prefix), self.spent(prefix), index)

    def integer_plan(self) -> list[int]:
        """See `Allocation`."""
        return IntegerProgram(self.knapsack).plan

    def loss(self, indices: Sequence[int]) -> float:
        """See `Allocation`."""
        return summed_loss(self.losses, indices)

    def estimate(self, plans: Ints) -> Floats:
        """See `Allocation`."""
        return summed_losses(self.losses, plans)

    def starts(self) -> list[list[int]]:
        """Returns the solver's own plan."""
        return [self.plan]

    def settle(self, indices: Sequence[int]) -> list[int]:
        """Returns the plan itself: what fits here meets every budget exactly."""
        return list(indices)

    def is_settled(self, indices: Sequence[int]) -> bool:
        """See `Allocation`."""
        return self.meets(indices)
