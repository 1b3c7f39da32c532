"""The menu of spaces whose choices change shapes: costs depend on neighbours' widths."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from autocomp.search_spaces.feasible_space import Floats, Indices, PlanMenu

from autocomp.allocation.constraint import Constraint
from autocomp.allocation.coupled import CoupledConstraint
from autocomp.allocation.coupled_solver import CoupledSolver
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import BudgetError
from autocomp.problem.structured import StructuredModel

_TRIES = 12
_SLACK = 0.998
"""How far below the limit an estimate is taken when real bytes came out too long."""


class CoupledMenu(PlanMenu):
    """A menu on which channels can go, so that a layer's cost depends on other layers' choices.

    MACs, parameters and bit operations are exact before anything is built. Bytes are, too, unless
    weights are compressed: those are estimated, then known once the plan is compressed, and a plan
    that came out too long is lowered, the least loss per byte first, until its real file fits.
    """

    def _layers(self) -> tuple[LayerSpec, ...]:
        return self.problem.subnets.layers

    def _feasibility(self) -> Constraint:
        self._structured = StructuredModel(self.problem, self.choices)
        self._constraint = self._structured.constraint()
        return self._constraint

    @property
    def constraint(self) -> CoupledConstraint:
        """What can meet the budgets, with sizes as they are estimated."""
        return self._constraint

    @cached_property
    def losses(self) -> list[Floats]:
        """Per layer, the estimated loss (F0, in nats) that each choice adds; measured once."""
        return self._structured.losses()

    @cached_property
    def solver(self) -> CoupledSolver:  # type: ignore[override]
        """What searches the estimated losses and costs; `solver.plan` is the best plan found."""
        return CoupledSolver(self._constraint, self.losses, self.settle)

    def starts(self) -> list[list[int]]:
        """Returns the solver's plan, and the exact solver's that keeps every channel and rank.

        Losses of structure and of what is inside do not quite add, so which is better is measured.
        """
        whole = self._structured.unstructured_plan(self._constraint.limits)
        if whole is None or not self.meets(whole) or whole == self.solver.plan:
            return [self.solver.plan]
        return [self.solver.plan, whole]

    def estimate(self, indices: Indices) -> Floats:
        """Returns F0, the summed estimated loss, of many plans: `(n, n_layers)` -> `(n,)`."""
        columns = [x[np.asarray(indices)[:, t]] for t, x in enumerate(self.losses)]
        summed: Floats = np.sum(columns, axis=0)
        return summed

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the plan meets every budget, in real bytes."""
        return self.feasibility.meets(indices) and self._excess(indices) <= 1

    def fit(self, actions: Floats) -> list[int]:
        """Turns one action per layer into a plan that meets every budget; see `PlanMenu.fit`."""
        return self.settle(super().fit(actions))

    def walk(self, actions: Floats) -> list[int]:
        """Projects layer by layer, then settles."""
        return self.settle(super().walk(actions))

    def fill(self, indices: Sequence[int]) -> list[int]:
        """Raises single layers while every budget holds."""
        return self.settle(super().fill(indices))

    def settle(self, indices: Sequence[int]) -> list[int]:
        """Returns the plan, lowered until its real costs meet every budget.

        Raises:
            BudgetError: if even the most compressed plan's file is too long.
        """
        indices = list(indices)
        limits = self._constraint.limits
        for _ in range(_TRIES):
            excess = self._excess(indices)
            if excess <= 1:
                return indices
            spent = self._constraint.total(indices)
            wanted = np.minimum(limits, np.floor(np.minimum(spent, limits) * _SLACK / excess))
            lowered = self.solver.lowered(indices, wanted.astype(np.int64))
            if lowered == indices:
                break
            indices = lowered
        raise BudgetError(
            "A plan's real file must fit the size budget, but the most compressed one of this "
            "space does not; raise the budget or widen the space."
        )

    def _excess(self, indices: Sequence[int]) -> float:
        """Returns the plan's real bytes over the budget's; 1 without a budget for bytes."""
        limit = self.problem.limits.get("size")
        if limit is None:
            return 1.0
        return self.problem.size_of(self.plan(indices)) / limit
