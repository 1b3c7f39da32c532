"""The honest baseline: random plans that spend the budget."""

from __future__ import annotations

import numpy as np
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.agents.task import SearchResult, SearchTask


class RandomAgent(Agent):
    """Draws each layer's action evenly and moves all by the same amount onto the budget."""

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        for indices in given_plans(task):
            if not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        rng = np.random.default_rng(task.seed)
        while not evaluator.spent:
            actions = rng.uniform(-1, 1, (len(feasible), feasible.vector.width))
            evaluator.evaluate(feasible.plan(feasible.actions.fit(actions)))
        return SearchResult(evaluator.outcomes)
