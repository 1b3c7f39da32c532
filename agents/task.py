"""What an agent is given, and what a search gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocomp.search_spaces import FeasibleSpace, SearchSpace, feasible_space

from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem

OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True)
class SearchTask:
    """Everything that an agent may use.

    Attributes:
        feasible: the search space under the problem's budgets.
        n_evaluations: how many distinct plans may be evaluated, at least 1.
        seed: makes the search repeatable.
        starts: plans to evaluate before any of the agent's own, and to learn from.
        on_outcome: called after each evaluation of a plan not seen before.
        folder: where the agent may leave what it learns as it goes; None for nowhere.
        tensorboard: folder for the agent's own TensorBoard records; None for none.
        resumed: whether an earlier part of this search was interrupted; what it left in `folder` is
            made anew.

    Raises:
        AgentError: if `n_evaluations` is below 1.
    """

    feasible: FeasibleSpace
    n_evaluations: int
    seed: int = 0
    starts: Sequence[Plan] = ()
    on_outcome: OnOutcome | None = field(default=None, repr=False)
    folder: Path | None = None
    tensorboard: Path | None = None
    resumed: bool = False

    def __post_init__(self) -> None:
        """Checks the count."""
        if self.n_evaluations < 1:
            raise AgentError(f"A search needs at least 1 evaluation, but got {self.n_evaluations}.")

    @classmethod
    def of(
        cls,
        problem: CompressionProblem,
        space: str | SearchSpace,
        n_evaluations: int,
        seed: int = 0,
        starts: Sequence[Plan] = (),
        on_outcome: OnOutcome | None = None,
        folder: Path | None = None,
    ) -> SearchTask:
        """Returns the task of searching `space`, by name or as an object, for `problem`.

        Raises:
            BudgetError: if no plan of the space meets the budgets.
            SpaceError, UnknownNameError: if there is no such space.
        """
        found = feasible_space(problem, space)
        return cls(found, n_evaluations, seed, tuple(starts), on_outcome, folder)

    @property
    def problem(self) -> CompressionProblem:
        """Evaluates plans."""
        return self.feasible.problem

    @property
    def space(self) -> SearchSpace:
        """The choices and their actions, without the budgets."""
        return self.feasible.space


@dataclass(frozen=True)
class SearchResult:
    """What a search gives back.

    Attributes:
        outcomes: every distinct plan that was evaluated, in that order.
        save: writes what the agent learned into a folder and returns the file, or None.
        finalists: evaluated plans that are judged thoroughly whatever their rank, because the agent
            believes in them.
    """

    outcomes: tuple[Outcome, ...]
    save: Callable[[Path], Path] | None = field(default=None, compare=False)
    finalists: tuple[Plan, ...] = ()

    @property
    def best(self) -> Outcome | None:
        """The best feasible outcome; None if nothing feasible was evaluated."""
        return best_of(self.outcomes)


OnEpisode = Callable[[int, int, float], None]
"""Called with the number of the episode, its problem's place, and its return."""


@dataclass(frozen=True)
class PolicyTask:
    """What training a policy over several problems and budgets is given.

    Attributes:
        feasibles: the problems to train on, all of one action space.
        unseen: problems that it is not trained on, by which its actions are scaled.
        n_episodes: episodes in all, at least one a problem.
        level: what judges plans, `Fidelity.ESTIMATE` or `Fidelity.SCREEN`.
        seed: makes the training repeatable.
        on_episode: called after each episode.
    """

    feasibles: Sequence[FeasibleSpace]
    unseen: Sequence[FeasibleSpace] = ()
    n_episodes: int = 300
    level: str = "F1"
    seed: int = 0
    on_episode: OnEpisode | None = None


@dataclass(frozen=True)
class TrainedAgent:
    """A policy that was trained.

    Attributes:
        share: by how much its actions were scaled; 1 where they were not.
        save: writes the networks into a folder and returns the file.
        model: the learning library's own object.
    """

    share: float
    save: Callable[[Path], Path]
    model: Any = field(default=None, repr=False, compare=False)
