"""Allocation where channels couple costs: a layer's depends on what its neighbours keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from autocomp.allocation.allocation import summed_loss, summed_losses
from autocomp.allocation.coupled_solver import CoupledSolver
from autocomp.allocation.coupling import CoupledCosts, Coupling
from autocomp.allocation.pareto import Floats, Ints
from autocomp.errors import BudgetError

_TRIES = 12
_SLACK = 0.998
"""How far below the limit an estimate is taken when real costs came out too large."""

Excess = Callable[[Sequence[int]], float]
"""A plan's real cost over its limit; at most 1 where it meets it."""


class CoupledAllocation(CoupledCosts):
    """Losses that add up over layers, costs that do not; see `CoupledSolver` for the plan.

    Some costs may be estimates here (bytes of sliced layers are known once they are compressed).
    `settle` then lowers a plan, the least loss per saving first, until its real ones hold.

    Args:
        coupling: which groups each layer's cost depends on.
        limits: int64 `(n_budgets,)`.
        losses: gives, per layer, each choice's loss; asked once, when a loss is first needed.
        min_utilisation: see `Costs.mask`.
        excess: a plan's real cost over its limit; None where costs here are exact.
        rivals: gives plans that may be better than the solver's in truth, given the limits.
    """

    separable = False

    def __init__(
        self,
        coupling: Coupling,
        limits: Ints,
        losses: Callable[[], Sequence[Floats]],
        min_utilisation: float = 0.0,
        excess: Excess | None = None,
        rivals: Callable[[Ints], list[list[int]]] | None = None,
    ) -> None:
        super().__init__(coupling, limits, min_utilisation)
        self._measure = losses
        self._excess = excess or (lambda indices: 1.0)
        self._rivals = rivals or (lambda limits: [])

    @cached_property
    def losses(self) -> list[Floats]:
        """See `Allocation`."""
        return [np.asarray(x, np.float64) for x in self._measure()]

    @cached_property
    def _solver(self) -> CoupledSolver:
        return CoupledSolver(self, self.losses, self.settle)

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
        """Raises BudgetError: there is no exact solver behind single layers."""
        raise _refusal("choosing layer by layer")

    def interval(self, prefix: Sequence[int], index: int) -> tuple[float, float] | None:
        """Raises BudgetError, as `choose` does."""
        raise _refusal("choosing layer by layer")

    def integer_plan(self) -> list[int]:
        """Raises BudgetError: costs do not add up."""
        raise _refusal("an integer program")

    def loss(self, indices: Sequence[int]) -> float:
        """See `Allocation`."""
        return summed_loss(self.losses, indices)

    def estimate(self, plans: Ints) -> Floats:
        """See `Allocation`."""
        return summed_losses(self.losses, plans)

    def starts(self) -> list[list[int]]:
        """Returns the solver's plan, and its rivals.

        Losses of structure and of what is inside do not quite add, so which is better is measured.
        """
        rivals = [p for p in self._rivals(self.limits) if p != self.plan and self.is_settled(p)]
        return [self.plan, *rivals]

    def settle(self, indices: Sequence[int]) -> list[int]:
        """Returns the plan, lowered until its real costs meet every budget.

        Raises:
            BudgetError: if even the most compressed plan's file is too long.
        """
        indices = list(indices)
        for _ in range(_TRIES):
            excess = self._excess(indices)
            if excess <= 1:
                return indices
            spent = self.total(indices)
            wanted = np.floor(np.minimum(spent, self.limits) * _SLACK / excess)
            wanted = np.minimum(self.limits, wanted).astype(np.int64)
            lowered = self._solver.lowered(indices, wanted)
            if lowered == indices:
                break
            indices = lowered
        raise BudgetError(
            "A plan's real file must fit the size budget, but the most compressed one of this "
            "space does not; raise the budget or widen the space."
        )

    def is_settled(self, indices: Sequence[int]) -> bool:
        """See `Allocation`."""
        return self.meets(indices) and self._excess(indices) <= 1


def _refusal(what: str) -> BudgetError:
    return BudgetError(
        f"Costs must add up over layers for {what}, but channels couple them; take another agent "
        "or space (dp solves this one)."
    )
