"""The honest baseline: random plans that spend the budget."""

from __future__ import annotations

import numpy as np
from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.ledger import Ledger
from autocomp.envs.menu import PlanMenu
from autocomp.search_spaces import SearchSpace

from autocomp.problem import CompressionProblem


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
    ) -> SearchResult:
        """Searches; see `Agent.search`."""
        menu = PlanMenu(problem, space)
        ledger = Ledger(problem, n_evaluations, on_outcome)
        rng = np.random.default_rng(seed)
        while not ledger.spent:
            actions = rng.uniform(-1, 1, (len(menu), menu.vector.width))
            ledger.evaluate(menu.plan(menu.fit(actions)))
        return SearchResult(ledger.outcomes)
