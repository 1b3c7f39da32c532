"""The solver's own plan, without a search."""

from __future__ import annotations

from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.agents.task import SearchResult, SearchTask
from autocomp.search_spaces import FeasibleSpace


class DPAgent(Agent):
    """Evaluates one plan: of least estimated loss within the budgets, by dynamic programming.

    Optimal for the additive model (F0); for several budgets it is an integer program, as `ilp`. The
    baseline of every search, and what searches start from. Where choices change shapes, costs do
    not add up, and the plan is the best that `CoupledSolver` finds.
    """

    def solve(self, feasible: FeasibleSpace) -> list[int]:
        """Returns the plan, as choice indices."""
        return feasible.allocation.plan

    def search(self, task: SearchTask) -> SearchResult:
        """Evaluates the plan, after any starts; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        for indices in [*given_plans(task), self.solve(feasible)]:
            if not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        return SearchResult(evaluator.outcomes)
