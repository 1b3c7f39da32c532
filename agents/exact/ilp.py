"""The solver's own plan as an integer program."""

from __future__ import annotations

from autocomp.agents.exact.dp import DPAgent
from autocomp.search_spaces import FeasibleSpace

from autocomp.errors import AgentError


class ILPAgent(DPAgent):
    """Evaluates one plan: of least estimated loss within any number of budgets, by HiGHS.

    Where `dp` thins its fronts, this finds the exact optimum; branch and bound may take longer.
    """

    def solve(self, feasible: FeasibleSpace) -> list[int]:
        """Returns the plan, as choice indices.

        Raises:
            AgentError: if the space's choices change shapes, so that costs do not add up.
        """
        if not feasible.allocation.separable:
            raise AgentError(
                "ilp needs costs that add up over layers, but channels couple them; take dp."
            )
        return feasible.allocation.integer_plan()
