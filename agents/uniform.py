"""The honest baseline: one choice for all layers."""

from __future__ import annotations

from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.ledger import Ledger
from autocomp.agents.starts import uniform_plans
from autocomp.envs.menu import PlanMenu
from autocomp.search_spaces import SearchSpace

from autocomp.problem import CompressionProblem


class UniformAgent:
    """Tries every feasible choice for all layers at once, the least weight error first.

    Where the budget rules out every uniform choice, the plan that spreads it evenly is tried.
    """

    def search(
        self,
        problem: CompressionProblem,
        space: SearchSpace,
        *,
        n_evaluations: int,
        seed: int,
        on_outcome: OnOutcome | None = None,
    ) -> SearchResult:
        """Searches; see `Agent.search`."""
        menu = PlanMenu(problem, space)
        ledger = Ledger(problem, n_evaluations, on_outcome)
        plans = uniform_plans(menu) or [menu.fit(menu.middle)]
        for indices in plans[:n_evaluations]:
            ledger.evaluate(menu.plan(indices))
        return SearchResult(ledger.outcomes)
