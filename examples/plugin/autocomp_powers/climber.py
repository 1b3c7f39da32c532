"""An agent: it climbs from the best plan so far."""

import numpy as np
from autocomp.agents import Agent, Evaluator, SearchResult, given_plans


class Climber(Agent):
    """Tries plans near the best one so far."""

    def search(self, task):
        """Searches until the evaluations are spent."""
        space, evaluator = task.feasible, Evaluator(task)
        rng = np.random.default_rng(task.seed)
        for indices in given_plans(task) or [space.allocation.plan]:
            if not evaluator.spent:
                evaluator.evaluate(space.plan(indices))
        while not evaluator.spent:
            best = SearchResult(evaluator.outcomes).best
            indices = space.actions.vary(space.indices(best.plan), rng)
            evaluator.evaluate(space.plan(indices))
        return SearchResult(evaluator.outcomes)
