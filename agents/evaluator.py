"""Counting evaluations, the same way for every agent."""

from __future__ import annotations

from autocomp.agents.task import SearchTask

from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import EvaluationsSpent

PATIENCE = 50
"""A search also ends after this many proposals in a row that it has seen before."""
PROPOSALS = 5
"""Or after this many proposals per evaluation: a converged agent proposes little that is new."""


class Evaluator:
    """Evaluates plans through the problem and counts the distinct ones.

    A plan that this search has seen is answered from memory and not counted. One that only the
    problem remembers (from an earlier search, or a resumed one) counts as if it were evaluated, so
    that a search never depends on what ran before it.

    Args:
        task: the search.
    """

    def __init__(self, task: SearchTask) -> None:
        self.problem = task.problem
        self.n_evaluations = task.n_evaluations
        self._on_outcome = task.on_outcome
        self._seen: dict[Plan, Outcome] = {}
        self._proposals = 0
        self._repeats = 0

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcomes of the distinct plans, in order."""
        return tuple(self._seen.values())

    @property
    def left(self) -> int:
        """How many distinct plans may still be evaluated."""
        return self.n_evaluations - len(self._seen)

    @property
    def spent(self) -> bool:
        """Whether the search is over."""
        return (
            self.left <= 0
            or self._repeats >= PATIENCE
            or self._proposals >= PROPOSALS * self.n_evaluations + PATIENCE
        )

    def seen(self, plan: Plan) -> bool:
        """Whether this search has evaluated `plan`."""
        return plan in self._seen

    def evaluate(self, plan: Plan) -> Outcome:
        """Returns the plan's outcome.

        Raises:
            EvaluationsSpent: if the plan is new and no evaluation is left.
        """
        self._proposals += 1
        if plan in self._seen:
            self._repeats += 1
            return self._seen[plan]
        self._repeats = 0
        if self.left <= 0:
            raise EvaluationsSpent(f"All {self.n_evaluations} evaluations are used up.")
        outcome = self.problem.evaluate(plan)
        self._seen[plan] = outcome
        if self._on_outcome is not None:
            self._on_outcome(outcome)
        return outcome
