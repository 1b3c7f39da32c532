"""The contract of an agent, and what a search gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autocomp.search_spaces import SearchSpace

from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem

OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True)
class SearchResult:
    """What a search gives back.

    Attributes:
        outcomes: every distinct plan that was evaluated, in that order.
        save: writes what the agent learned into a folder and returns the file, or None.
    """

    outcomes: tuple[Outcome, ...]
    save: Callable[[Path], Path] | None = field(default=None, compare=False)

    @property
    def best(self) -> Outcome | None:
        """The best feasible outcome; None if nothing feasible was evaluated."""
        return best_of(self.outcomes)


class Agent(Protocol):
    """Something that searches.

    Its contract (tests/agents): the same seed gives the same outcomes; never more than
    `n_evaluations` distinct plans; every one feasible; the toy problem's optimum is reached; the
    starts are evaluated first, in their order; a clear AgentError for a space that it cannot use.
    """

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
        """Searches plans of `space` for `problem`.

        Args:
            problem: evaluates plans.
            space: the choices and their actions.
            n_evaluations: how many distinct plans may be evaluated.
            seed: makes the search repeatable.
            on_outcome: called after each evaluation of a plan not seen before.
            starts: plans to evaluate before any of the agent's own, and to learn from.

        Raises:
            BudgetError: if no plan of the space meets the budgets.
            AgentError: if the agent cannot use the space, or a start does not lie in it or does not
                meet the budgets.
        """
        ...
