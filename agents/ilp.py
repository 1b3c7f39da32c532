"""The solver's own plan as an integer program."""

from __future__ import annotations

from autocomp.agents.dp import DPAgent
from autocomp.envs import PlanMenu

from autocomp.integer_program import IntegerProgram


class ILPAgent(DPAgent):
    """Evaluates one plan: of least estimated loss within any number of budgets, by HiGHS.

    Where `dp` thins its fronts, this finds the exact optimum; branch and bound may take longer.
    """

    def solve(self, menu: PlanMenu) -> list[int]:
        """Returns the plan, as choice indices."""
        return IntegerProgram(menu.model).plan
