"""Optuna's samplers on the plan as one vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans, starting_plans
from autocomp.envs import make_menu
from autocomp.search_spaces import Action, SearchSpace
from autocomp.search_spaces.feasible_space import PlanMenu
from gymnasium import spaces
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial

from autocomp.core.plan import Plan
from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem


@dataclass(frozen=True)
class Beginning:
    """What a sampler is built from.

    Attributes:
        seed: makes it repeatable.
        point: the first vector, by name of its entries.
        trials: how many trials come before the sampler's own model.
        spread: factor on its step size, see `PlanMenu`.
    """

    seed: int
    point: dict[str, float]
    trials: int
    spread: float


MakeSampler = Callable[[Beginning], BaseSampler]


class OptunaAgent:
    """Asks a sampler for vectors, moves each onto the budget, and tells it the plan's score.

    The move is the same amount in every entry (see `PlanMenu.fit`), so the score is a function of
    the vector that was asked for. Each trial records how far every budget is used as Optuna
    constraints, and the plan as an attribute.

    The study starts from the plans it is given and from some around them; else from the solver's
    and uniform ones, and from random vectors where the space's actions name choices.

    Args:
        make_sampler: builds the sampler.
        starts: how many plans are enqueued first, where none is given.
        startup: how many vectors come after them, a quarter of the evaluations at most.
        storage: file of the study's journal ("" keeps it in memory); `optuna-dashboard` opens it.
    """

    def __init__(
        self, make_sampler: MakeSampler, starts: int = 4, startup: int = 0, storage: str = ""
    ) -> None:
        self.make_sampler = make_sampler
        self.starts = starts
        self.startup = startup
        self.storage = storage

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
        distributions = _distributions(menu)
        points, trials = self._points(menu, evaluator, given_plans(menu, starts), seed)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # notices on experimental options of samplers
                sampler = self.make_sampler(Beginning(seed, points[0], trials, menu.spread))
                study = optuna.create_study(direction="maximize", sampler=sampler)
                journal = self._journal()
                for point in points:
                    study.enqueue_trial(point)
                while not evaluator.spent:
                    trial = self._trial(study, menu, evaluator, distributions)
                    if journal is not None:
                        journal.add_trial(trial)
        finally:
            optuna.logging.set_verbosity(verbosity)
        return SearchResult(evaluator.outcomes)

    def _points(
        self, menu: PlanMenu, evaluator: Evaluator, given: list[list[int]], seed: int
    ) -> tuple[list[dict[str, float]], int]:
        """Returns the vectors to try first, and how many trials come before the sampler's own."""
        for indices in given:
            # a plan that no vector makes cannot be a trial; it is evaluated all the same
            if menu.whole_action(indices) is None and not evaluator.spent:
                evaluator.evaluate(menu.plan(indices))
        plans = given or starting_plans(
            menu, min(self.starts, max(1, evaluator.n_evaluations // 4))
        )
        vectors = [menu.whole_action(indices) for indices in plans]
        startup = min(self.startup, evaluator.n_evaluations // 4)
        if not given and menu.spread == 1:
            return _params(menu, vectors), self.starts + startup
        rng = np.random.default_rng([seed, 2])
        vectors += [menu.whole_action(menu.vary(plans[0], rng)) for _ in range(startup)]
        points = _params(menu, vectors) or _params(menu, [menu.whole_action(menu.solver.plan)])
        return points, len(points)

    def _trial(
        self,
        study: optuna.Study,
        menu: PlanMenu,
        evaluator: Evaluator,
        distributions: dict[str, BaseDistribution],
    ) -> FrozenTrial:
        trial = study.ask(distributions)
        entries = np.array([trial.params[name] for name in distributions])
        actions = np.array([menu.normalise(row) for row in menu.vector.split(entries)])
        outcome = evaluator.evaluate(menu.plan(menu.fit(actions)))
        for name, limit in menu.problem.limits.items():
            trial.set_constraint(name, outcome.costs[name] / limit - 1)
        trial.set_user_attr("plan", outcome.plan.to_json())
        trial.set_user_attr("loss", outcome.loss)
        # ties are broken by the loss, as in the search's own ranking
        return study.tell(trial, outcome.merit - 1e-4 * min(outcome.loss, 100.0))

    def _journal(self) -> optuna.Study | None:
        """Returns the study that is kept on disk: a finished trial at a time.

        The one that samples stays in memory, because a journal waits for the disk at every entry,
        some 70 for a trial.
        """
        if not self.storage:
            return None
        path = Path(self.storage)
        if path.exists():
            raise AgentError(
                f"`storage` must name a file that does not exist yet, but {self.storage!r} does; "
                "move it, or name another."
            )
        storage = JournalStorage(JournalFileBackend(str(path)))
        return optuna.create_study(direction="maximize", storage=storage, study_name="autocomp")


def _names(menu: PlanMenu) -> list[str]:
    width = menu.vector.width
    return [f"{layer.name}[{i}]" for layer in menu.layers for i in range(width)]


def _distributions(menu: PlanMenu) -> dict[str, BaseDistribution]:
    one = menu.vector.action_space
    names = _names(menu)
    if isinstance(one, spaces.MultiDiscrete):
        return {
            name: IntDistribution(0, int(n) - 1) for name, n in zip(names, one.nvec, strict=True)
        }
    return {name: FloatDistribution(-1.0, 1.0) for name in names}


def _params(menu: PlanMenu, vectors: list[Action | None]) -> list[dict[str, float]]:
    return [dict(zip(_names(menu), v.tolist(), strict=True)) for v in vectors if v is not None]
