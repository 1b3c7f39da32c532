"""Optuna's samplers on the plan as one vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.starts import given_plans, starting_plans
from autocomp.agents.task import SearchResult, SearchTask
from autocomp.search_spaces import Action
from autocomp.search_spaces.feasible_space import FeasibleSpace
from gymnasium import spaces
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial

from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_whole
from autocomp.storage.paths import user_path


@dataclass(frozen=True)
class Beginning:
    """What a sampler is built from.

    Attributes:
        seed: makes it repeatable.
        point: the first vector, by name of its entries.
        trials: how many trials come before the sampler's own model.
        spread: factor on its step size, see `FeasibleSpace`.
    """

    seed: int
    point: dict[str, float]
    trials: int
    spread: float


STUDY = "agent.study.log"
"""The study's journal in a run folder."""
MakeSampler = Callable[[Beginning], BaseSampler]


class OptunaAgent(Agent):
    """Asks a sampler for vectors, moves each onto the budget, and tells it the plan's score.

    The move is the same amount in every entry (see `NamedActions.fit`), so the score is a function
    of the vector that was asked for. Each trial records how far every budget is used as Optuna
    constraints, and the plan as an attribute.

    The study starts from the plans it is given and from some around them; else from the solver's
    and uniform ones, and from random vectors where the space's actions name choices.

    Args:
        make_sampler: builds the sampler.
        starts: how many plans are enqueued first, where none is given.
        startup: how many vectors come after them, a quarter of the evaluations at most.
        storage: file of the study's journal; "" takes the task's folder, or memory where it has
            none. `optuna-dashboard` opens it.
    """

    def __init__(
        self, make_sampler: MakeSampler, starts: int = 4, startup: int = 0, storage: str = ""
    ) -> None:
        check_whole(AgentError, starts=(starts, 1, 1000), startup=(startup, 0, 100_000))
        self.make_sampler = make_sampler
        self.starts = starts
        self.startup = startup
        self.storage = str(user_path(storage, "storage", AgentError)) if storage else ""

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        distributions = _distributions(feasible)
        points, trials = self._points(feasible, evaluator, given_plans(task), task.seed)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # notices on experimental options of samplers
                beginning = Beginning(task.seed, points[0], trials, feasible.actions.spread)
                sampler = self.make_sampler(beginning)
                study = optuna.create_study(direction="maximize", sampler=sampler)
                journal = self._journal(task)
                for point in points:
                    study.enqueue_trial(point)
                while not evaluator.spent:
                    trial = self._trial(study, feasible, evaluator, distributions)
                    if journal is not None:
                        journal.add_trial(trial)
        finally:
            optuna.logging.set_verbosity(verbosity)
        return SearchResult(evaluator.outcomes)

    def study(self, folder: Path) -> tuple[Path, str] | None:
        """Returns the journal, and the sampler's name; see `Agent.study`."""
        for file in (folder / STUDY, Path(self.storage or folder / STUDY)):
            if file.is_file():
                return file, type(self).__name__.removesuffix("Agent")
        return None

    def _points(
        self, feasible: FeasibleSpace, evaluator: Evaluator, given: list[list[int]], seed: int
    ) -> tuple[list[dict[str, float]], int]:
        """Returns the vectors to try first, and how many trials come before the sampler's own."""
        for indices in given:
            # a plan that no vector makes cannot be a trial; it is evaluated all the same
            if feasible.actions.whole_action(indices) is None and not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        plans = given or starting_plans(
            feasible, min(self.starts, max(1, evaluator.n_evaluations // 4))
        )
        vectors = [feasible.actions.whole_action(indices) for indices in plans]
        startup = min(self.startup, evaluator.n_evaluations // 4)
        if not given and feasible.actions.spread == 1:
            return _params(feasible, vectors), self.starts + startup
        rng = np.random.default_rng([seed, 2])
        vectors += [
            feasible.actions.whole_action(feasible.actions.vary(plans[0], rng))
            for _ in range(startup)
        ]
        points = _params(feasible, vectors) or _params(
            feasible, [feasible.actions.whole_action(feasible.allocation.plan)]
        )
        return points, len(points)

    def _trial(
        self,
        study: optuna.Study,
        feasible: FeasibleSpace,
        evaluator: Evaluator,
        distributions: dict[str, BaseDistribution],
    ) -> FrozenTrial:
        trial = study.ask(distributions)
        entries = np.array([trial.params[name] for name in distributions])
        actions = feasible.vector.normalised(entries)
        outcome = evaluator.evaluate(feasible.plan(feasible.actions.fit(actions)))
        for name, limit in feasible.problem.limits.items():
            trial.set_constraint(name, outcome.costs[name] / limit - 1)
        trial.set_user_attr("plan", outcome.plan.to_json())
        trial.set_user_attr("loss", outcome.loss)
        # ties are broken by the loss, as in the search's own ranking
        return study.tell(trial, outcome.merit - 1e-4 * min(outcome.loss, 100.0))

    def _journal(self, task: SearchTask) -> optuna.Study | None:
        """Returns the study that is kept on disk: a finished trial at a time.

        The one that samples stays in memory, because a journal waits for the disk at every entry,
        some 70 for a trial. A resumed search makes its trials again, from the start: the task
        folder's own journal is made anew, and a file elsewhere is never touched again.
        """
        if self.storage and not task.resumed:
            path = Path(self.storage)
            if path.exists():
                raise AgentError(
                    f"`storage` must name a file that does not exist yet, but {self.storage!r} "
                    "does; move it, or name another."
                )
        elif task.folder is not None:
            path = task.folder / STUDY
            path.unlink(missing_ok=True)
        else:
            return None
        storage = JournalStorage(JournalFileBackend(str(path)))
        return optuna.create_study(direction="maximize", storage=storage, study_name="autocomp")


def _names(feasible: FeasibleSpace) -> list[str]:
    width = feasible.vector.width
    return [f"{layer.name}[{i}]" for layer in feasible.layers for i in range(width)]


def _distributions(feasible: FeasibleSpace) -> dict[str, BaseDistribution]:
    one = feasible.vector.action_space
    names = _names(feasible)
    if isinstance(one, spaces.MultiDiscrete):
        return {
            name: IntDistribution(0, int(n) - 1) for name, n in zip(names, one.nvec, strict=True)
        }
    return {name: FloatDistribution(-1.0, 1.0) for name in names}


def _params(feasible: FeasibleSpace, vectors: list[Action | None]) -> list[dict[str, float]]:
    return [dict(zip(_names(feasible), v.tolist(), strict=True)) for v in vectors if v is not None]
