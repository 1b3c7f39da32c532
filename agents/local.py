"""Local search from the solver's plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.agents.task import SearchResult, SearchTask
from autocomp.search_spaces import CoefficientSpace, FeasibleSpace

from autocomp.allocation.pareto import Floats, pareto_front
from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_real

_PATIENCE = 40
"""So many multipliers in a row that make no new plan, and single choices are moved instead."""
_NEAR = 2
"""How far a single choice moves along its layer's front of cost and loss."""


class LocalAgent(Agent):
    """SPDY's local search (Frantar and Alistarh 2022, arXiv:2201.13096) on any space.

    Multipliers on the layers' losses start neutral, at the solver's plan. A step draws some of the
    best multipliers anew, solves, and keeps what is better; plans seen before cost nothing. A tenth
    of the layers change at first, and fewer as failures accumulate, down to one. When multipliers
    make no new plans, one layer's choice is lowered to pay for another's, the least estimated loss
    first, until no such plan is left.

    Args:
        sigma: deviation of a log-multiplier that is drawn anew.
        share: share of the layers that change at first, two at least.
    """

    def __init__(self, sigma: float = 1.0, share: float = 0.1) -> None:
        check_real(AgentError, sigma=(sigma, 0, 100), share=(share, 0, 1))
        self.sigma, self.share = sigma, share

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        if not task.feasible.allocation.separable:
            return self._wander(task)
        feasible = _multiplied(task.feasible)
        evaluator = self._begun(replace(task, feasible=feasible))
        self._draw(feasible, evaluator, np.random.default_rng(task.seed))
        while not evaluator.spent:
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            if not _move(feasible, evaluator, feasible.indices(best.plan)):
                break  # every neighbour is known: a local optimum
        return SearchResult(evaluator.outcomes)

    def _begun(self, task: SearchTask) -> Evaluator:
        """Returns the evaluator, with the starts and the solver's plan evaluated."""
        evaluator = Evaluator(task)
        for indices in [*given_plans(task), task.feasible.allocation.plan]:
            if not evaluator.spent:
                evaluator.evaluate(task.feasible.plan(indices))
        return evaluator

    def _wander(self, task: SearchTask) -> SearchResult:
        """Redraws the choices themselves, a few layers at a time, where losses have no multipliers.

        Channels couple the layers' costs, so that no exact solver stands behind the multipliers.
        """
        feasible, evaluator = task.feasible, self._begun(task)
        rng = np.random.default_rng(task.seed)
        most = max(2, round(self.share * len(feasible)))
        failures = known = 0
        while not evaluator.spent and known < _PATIENCE:
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            here = feasible.indices(best.plan)
            rows = np.array([feasible.coordinates(t)[i] for t, i in enumerate(here)])
            changed = min(max(1, most - failures // most), len(feasible))
            plan = feasible.plan(feasible.actions.fit(_redrawn(rows, changed, self.sigma / 2, rng)))
            if evaluator.seen(plan):
                known += 1
                continue
            known = 0
            better = evaluator.evaluate(plan).rank > best.rank
            failures = 0 if better else failures + 1
        return SearchResult(evaluator.outcomes)

    def _draw(
        self, feasible: FeasibleSpace, evaluator: Evaluator, rng: np.random.Generator
    ) -> None:
        """Draws multipliers until they make no new plans."""
        actions = feasible.middle
        rank = max(outcome.rank for outcome in evaluator.outcomes)
        most = max(2, round(self.share * len(feasible)))
        sigma = max(self.sigma * feasible.actions.spread, feasible.actions.resolution)
        failures = known = 0
        while not evaluator.spent and known < _PATIENCE:
            # one layer fewer after as many failures as there are layers to change
            changed = min(max(1, most - failures // most), len(feasible))
            drawn = _redrawn(actions, changed, sigma, rng)
            plan = feasible.plan(feasible.actions.fit(drawn))
            if evaluator.seen(plan):
                known += 1
                continue
            known = 0
            outcome = evaluator.evaluate(plan)
            if outcome.rank > rank:
                actions, rank, failures = drawn, outcome.rank, 0
            else:
                failures += 1


def _multiplied(feasible: FeasibleSpace) -> FeasibleSpace:
    """Returns the same choices with multipliers as actions."""
    space = feasible.space
    return feasible if space.names is not space else feasible.through(CoefficientSpace(space))


def _redrawn(actions: Floats, n: int, sigma: float, rng: np.random.Generator) -> Floats:
    drawn = actions.copy()
    at = rng.choice(len(actions), n, replace=False)
    drawn[at] += rng.normal(0, sigma, drawn[at].shape)
    return np.clip(drawn, -1, 1)


def _move(feasible: FeasibleSpace, evaluator: Evaluator, indices: list[int]) -> bool:
    """Tries neighbours of a plan until one is better; returns whether any was new."""
    start = evaluator.evaluate(feasible.plan(indices))
    new = False
    for candidate in _neighbours(feasible, indices):
        plan = feasible.plan(candidate)
        if evaluator.spent:
            break
        if not evaluator.seen(plan):
            new = True
            if evaluator.evaluate(plan).rank > start.rank:
                break
    return new


def _neighbours(feasible: FeasibleSpace, indices: list[int]) -> Iterator[list[int]]:
    """Yields the feasible plans that differ in one or two layers, the least loss first."""
    allocation = feasible.allocation
    moves, loss, cost = [], [], []
    for t, index in enumerate(indices):
        costs, losses = allocation.own(indices, t), allocation.losses[t]
        front = pareto_front(*costs.T, losses)
        order = front[np.argsort(losses[front], kind="stable")]
        place = int(np.searchsorted(losses[order], losses[index]))
        near = [int(i) for i in order[max(0, place - _NEAR) : place + _NEAR + 1] if i != index]
        moves += [(t, i) for i in near]
        loss += [losses[i] - losses[index] for i in near]
        cost += [costs[i] - costs[index] for i in near]
    if not moves:
        return  # one choice a layer
    layer = np.array([t for t, _ in moves])
    left = allocation.limits - allocation.total(indices)
    first, second = np.triu_indices(len(moves))  # a move paired with itself is that move alone
    alone = first == second
    costs_of, loss_of = np.array(cost), np.array(loss)
    total = np.where(alone, 0, costs_of[second].T).T + costs_of[first]
    fits = (total <= left).all(1) & (alone | (layer[first] != layer[second]))
    first, second = first[fits], second[fits]
    summed = loss_of[first] + np.where(first == second, 0, loss_of[second])
    for k in np.argsort(summed, kind="stable").tolist():
        candidate = list(indices)
        for at in (int(first[k]), int(second[k])):
            candidate[moves[at][0]] = moves[at][1]
        yield candidate
