"""The honest baseline: one choice for all layers."""

from __future__ import annotations

from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans, uniform_plans
from autocomp.agents.task import SearchResult, SearchTask


class UniformAgent(Agent):
    """Tries every feasible choice for all layers at once, the least estimated loss first.

    Where the budget rules out every uniform choice, the plan that spreads it evenly is tried.
    """

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        uniform = uniform_plans(feasible) or [feasible.names.even()]
        for indices in [*given_plans(task), *uniform]:
            if not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        return SearchResult(evaluator.outcomes)
