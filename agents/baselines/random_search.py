"""The honest baseline: random plans that spend the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.envs import make_menu
from autocomp.search_spaces import SearchSpace

from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem


class RandomAgent:
    """Draws each layer's action evenly and moves all by the same amount onto the budget."""

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
        for indices in given_plans(menu, starts):
            if not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        rng = np.random.default_rng(seed)
        while not evaluator.spent:
            actions = rng.uniform(-1, 1, (len(menu), menu.vector.width))
            evaluator.evaluate(menu.plan(menu.fit(actions)))
        return SearchResult(evaluator.outcomes)
