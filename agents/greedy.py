"""Greedy reallocation: take bytes where they are worth least, give them where worth most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans, starting_plans
from autocomp.agents.task import SearchResult, SearchTask
from autocomp.search_spaces.feasible_space import FeasibleSpace

from autocomp.core.outcome import Outcome
from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_whole


class GreedyAgent(Agent):
    """Best accuracy per byte saved, measured (compare NetAdapt, Yang et al. 2018, 1804.03230).

    Starts from the best of the plans it is given, or else of the solver's and a few uniform ones.
    A round lowers each layer by one notch of each property, one at a time, and measures how much
    loss a saved unit of the budget costs there; then moves are tried that lower where it is
    cheapest and spend what that frees where it is dearest, the most promising first, and the best
    plan found is the next round's start. Moves are of choices, whatever the space's actions mean.
    Deterministic.

    Args:
        starts: how many plans to try first, where none is given.
    """

    def __init__(self, starts: int = 6) -> None:
        check_whole(AgentError, starts=(starts, 1, 1000))
        self.starts = starts

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        for indices in given_plans(task) or starting_plans(feasible, self.starts):
            if not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        while not evaluator.spent:
            before = len(evaluator.outcomes)
            self._round(feasible, evaluator)
            if len(evaluator.outcomes) == before:
                break  # every move is known: a local optimum
        return SearchResult(evaluator.outcomes)

    def _round(self, feasible: FeasibleSpace, evaluator: Evaluator) -> None:
        start = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
        indices = feasible.indices(start.plan)
        prices: list[tuple[float, int, int]] = []
        # at most half of what is left goes into measuring prices, half into moves
        allowance = max(1, evaluator.left // 2) if evaluator.left > 1 else 0
        for t, lower in _notches(feasible, indices):
            if allowance <= 0 or evaluator.spent:
                break
            candidate = [*indices]
            candidate[t] = lower
            plan = feasible.plan(candidate)
            allowance -= not evaluator.seen(plan)
            outcome = evaluator.evaluate(plan)
            prices.append((self._price(feasible, start, outcome, t, indices[t], lower), t, lower))
        prices.sort()
        for lowered, raised_first in _moves(prices):
            if evaluator.spent:
                return
            candidate = [*indices]
            for t, lower in lowered:
                if candidate[t] == indices[t]:  # one notch a layer, the cheaper property first
                    candidate[t] = lower
            taken = {t for t, _ in lowered}
            plan = feasible.plan(
                _raise(feasible, candidate, [t for t in raised_first if t not in taken])
            )
            if not evaluator.seen(plan) and evaluator.evaluate(plan).rank > start.rank:
                return  # measure anew from the better plan

    @staticmethod
    def _price(
        feasible: FeasibleSpace, start: Outcome, outcome: Outcome, t: int, index: int, lower: int
    ) -> float:
        costs = feasible.allocation.alternatives(feasible.indices(start.plan), t)
        saved = (costs[index] - costs[lower]) / np.maximum(feasible.allocation.limits, 1)
        return (outcome.loss - start.loss) / max(float(saved.max()), 1e-9)


def _moves(
    prices: list[tuple[float, int, int]],
) -> Iterator[tuple[list[tuple[int, int]], list[int]]]:
    """Yields ((layer, choice) pairs to lower, layers to raise in order), most promising first.

    First ever more of the cheapest layers pay for the dearest ones, then single layers pay for
    single others.
    """
    dear = list(dict.fromkeys(t for _, t, _ in reversed(prices)))
    for n_lowered in range(1, len(prices) + 1):
        yield [(t, lower) for _, t, lower in prices[:n_lowered]], dear
    for _, t, lower in prices:
        for other in dear:
            yield [(t, lower)], [other]


def _notches(feasible: FeasibleSpace, indices: list[int]) -> list[tuple[int, int]]:
    """Returns (layer, choice) one notch below the plan in one property, large savings first."""
    found: list[tuple[float, int, int]] = []
    limits = np.maximum(feasible.allocation.limits, 1)
    for t, index in enumerate(indices):
        coordinates, costs = feasible.coordinates(t), feasible.allocation.alternatives(indices, t)
        here = coordinates[index]
        for axis in range(coordinates.shape[1]):
            others = np.delete(coordinates - here, axis, axis=1)
            below = (np.abs(others) < 1e-6).all(1) & (coordinates[:, axis] < here[axis] - 1e-6)
            below &= (costs <= costs[index]).all(1)
            if below.any():
                nearest = int(np.where(below, coordinates[:, axis], -np.inf).argmax())
                saved = float(((costs[index] - costs[nearest]) / limits).max())
                found.append((-saved, t, nearest))
    return [(t, lower) for _, t, lower in sorted(found)]


def _raise(feasible: FeasibleSpace, indices: list[int], order: list[int]) -> list[int]:
    """Raises the layers of `order`, each by the notch that fits, then fills up the rest."""
    indices = [*indices]
    for t in order:
        costs, coordinates = feasible.allocation.alternatives(indices, t), feasible.coordinates(t)
        here = indices[t]
        fits = (costs <= feasible.allocation.limits).all(1)
        mask = (
            fits & (coordinates >= coordinates[here] - 1e-9).all(1) & (costs > costs[here]).any(1)
        )
        if mask.any():
            distance = ((coordinates - coordinates[here]) ** 2).sum(1)
            indices[t] = int(np.where(mask, distance, np.inf).argmin())
    return feasible.names.fill(indices)
