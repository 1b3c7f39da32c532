"""The honest baseline: one choice for all layers."""

from __future__ import annotations

from collections.abc import Sequence

from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans, uniform_plans
from autocomp.envs import make_menu
from autocomp.search_spaces import SearchSpace

from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem


class UniformAgent:
    """Tries every feasible choice for all layers at once, the least estimated loss first.

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
        starts: Sequence[Plan] = (),
    ) -> SearchResult:
        """Searches; see `Agent.search`."""
        menu = make_menu(problem, space)
        evaluator = Evaluator(problem, n_evaluations, on_outcome)
        for indices in [*given_plans(menu, starts), *(uniform_plans(menu) or [menu.even()])]:
            if not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        return SearchResult(evaluator.outcomes)
