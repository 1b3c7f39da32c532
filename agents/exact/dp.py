"""The solver's own plan, without a search."""

from __future__ import annotations

from collections.abc import Sequence

from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.envs import PlanMenu, make_menu
from autocomp.search_spaces import SearchSpace

from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem


class DPAgent:
    """Evaluates one plan: of least estimated loss within the budgets, by dynamic programming.

    Optimal for the additive model (F0); for several budgets it is an integer program, as `ilp`. The
    baseline of every search, and what searches start from. Where choices change shapes, costs do
    not add up, and the plan is the best that `CoupledSolver` finds.
    """

    def solve(self, menu: PlanMenu) -> list[int]:
        """Returns the plan, as choice indices."""
        return menu.solver.plan

    def search(
        self,
        problem: CompressionProblem,
        space: SearchSpace,
        *,
        n_evaluations: int,
        seed: int,
        on_outcome: OnOutcome | None = None,
        starts: Sequence[Plan] = (),
    ) -> SearchResult:
        """Evaluates the plan, after any starts; see `Agent.search`."""
        menu = make_menu(problem, space)
        evaluator = Evaluator(problem, n_evaluations, on_outcome)
        for indices in [*given_plans(menu, starts), self.solve(menu)]:
            if not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        return SearchResult(evaluator.outcomes)
