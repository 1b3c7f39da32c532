"""Local search from the solver's plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans
from autocomp.envs import PlanMenu, make_menu
from autocomp.search_spaces import CoefficientSpace, SearchSpace
from autocomp.search_spaces.coefficient_feasible import CoefficientMenu
from autocomp.search_spaces.feasible_space import Floats

from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem

_PATIENCE = 40
"""So many multipliers in a row that make no new plan, and single choices are moved instead."""
_NEAR = 2
"""How far a single choice moves along its layer's front of cost and loss."""


class LocalAgent:
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
        self.sigma, self.share = sigma, share

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
        if getattr(space, "structural", False):
            return self._wander(make_menu(problem, space), problem, n_evaluations, seed,
                                on_outcome, starts)  # fmt: skip
        if not isinstance(space, CoefficientSpace):
            space = CoefficientSpace(space)
        menu = CoefficientMenu(problem, space)
        evaluator = Evaluator(problem, n_evaluations, on_outcome)
        for indices in [*given_plans(menu, starts), menu.solver.plan]:
            if not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        self._draw(menu, evaluator, np.random.default_rng(seed))
        while not evaluator.spent:
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            if not _move(menu, evaluator, menu.indices(best.plan)):
                break  # every neighbour is known: a local optimum
        return SearchResult(evaluator.outcomes)

    def _wander(
        self, menu: PlanMenu, problem: CompressionProblem, n_evaluations: int, seed: int,
        on_outcome: OnOutcome | None, starts: Sequence[Plan],
    ) -> SearchResult:  # fmt: skip
        """Redraws the choices themselves, a few layers at a time, where losses have no multipliers.

        Channels couple the layers' costs, so that no exact solver stands behind the multipliers.
        """
        evaluator = Evaluator(problem, n_evaluations, on_outcome)
        for indices in [*given_plans(menu, starts), menu.solver.plan]:
            if not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        rng = np.random.default_rng(seed)
        most = max(2, round(self.share * len(menu)))
        failures = known = 0
        while not evaluator.spent and known < _PATIENCE:
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            here = menu.indices(best.plan)
            rows = np.array([menu.coordinates(t)[i] for t, i in enumerate(here)])
            changed = min(max(1, most - failures // most), len(menu))
            plan = menu.plan(menu.fit(_redrawn(rows, changed, self.sigma / 2, rng)))
            if evaluator.seen(plan):
                known += 1
                continue
            known = 0
            better = evaluator.evaluate(plan).rank > best.rank
            failures = 0 if better else failures + 1
        return SearchResult(evaluator.outcomes)

    def _draw(self, menu: CoefficientMenu, evaluator: Evaluator, rng: np.random.Generator) -> None:
        """Draws multipliers until they make no new plans."""
        actions = menu.middle
        rank = max(outcome.rank for outcome in evaluator.outcomes)
        most = max(2, round(self.share * len(menu)))
        sigma = max(self.sigma * menu.spread, menu.coefficients.resolution)
        failures = known = 0
        while not evaluator.spent and known < _PATIENCE:
            # one layer fewer after as many failures as there are layers to change
            changed = min(max(1, most - failures // most), len(menu))
            drawn = _redrawn(actions, changed, sigma, rng)
            plan = menu.plan(menu.fit(drawn))
            if evaluator.seen(plan):
                known += 1
                continue
            known = 0
            outcome = evaluator.evaluate(plan)
            if outcome.rank > rank:
                actions, rank, failures = drawn, outcome.rank, 0
            else:
                failures += 1


def _redrawn(actions: Floats, n: int, sigma: float, rng: np.random.Generator) -> Floats:
    drawn = actions.copy()
    at = rng.choice(len(actions), n, replace=False)
    drawn[at] += rng.normal(0, sigma, drawn[at].shape)
    return np.clip(drawn, -1, 1)


def _move(menu: CoefficientMenu, evaluator: Evaluator, indices: list[int]) -> bool:
    """Tries neighbours of a plan until one is better; returns whether any was new."""
    start = evaluator.evaluate(menu.plan(indices))
    new = False
    for candidate in _neighbours(menu, indices):
        plan = menu.plan(candidate)
        if evaluator.spent:
            break
        if not evaluator.seen(plan):
            new = True
            if evaluator.evaluate(plan).rank > start.rank:
                break
    return new


def _neighbours(menu: CoefficientMenu, indices: list[int]) -> Iterator[list[int]]:
    """Yields the feasible plans that differ in one or two layers, the least loss first."""
    model = menu.model
    moves = []
    for t, index in enumerate(indices):
        front = model.options(t)
        order = np.argsort(model.losses[t][front], kind="stable")
        losses = model.losses[t][front][order]
        place = int(np.searchsorted(losses, model.losses[t][index]))
        near = front[order][max(0, place - _NEAR) : place + _NEAR + 1]
        moves += [(t, int(i)) for i in near if i != index]
    loss = np.array([model.losses[t][i] - model.losses[t][indices[t]] for t, i in moves])
    cost = np.array([model.costs[t][i] - model.costs[t][indices[t]] for t, i in moves])
    layer = np.array([t for t, _ in moves])
    left = model.limits - model.total(indices)
    first, second = np.triu_indices(len(moves))  # a move paired with itself is that move alone
    alone = first == second
    total = np.where(alone, 0, cost[second].T).T + cost[first]
    fits = (total <= left).all(1) & (alone | (layer[first] != layer[second]))
    first, second = first[fits], second[fits]
    summed = loss[first] + np.where(first == second, 0, loss[second])
    for k in np.argsort(summed, kind="stable").tolist():
        candidate = list(indices)
        for at in (int(first[k]), int(second[k])):
            candidate[moves[at][0]] = moves[at][1]
        yield candidate
