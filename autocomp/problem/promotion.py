"""From many plans scored on few images to one scored on all: a race of the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem

_ENTRANTS = 3
"""Plans that may enter for each place on the whole split."""


def promote(
    problem: CompressionProblem,
    outcomes: Iterable[Outcome],
    places: int,
    always: Sequence[Plan] = (),
    on_outcome: Callable[[Outcome], None] | None = None,
    level: Fidelity = Fidelity.FULL,
) -> list[Outcome]:
    """Scores the best plans again on the whole search split, by rank.

    The first runs the whole way. Each later one is compared with the best so far on the same
    images, batch after batch, and given up as soon as it lies significantly behind: paired
    differences have a far smaller error than two accuracies (compare Maron and Moore 1997).

    Args:
        problem: the problem.
        outcomes: what was evaluated at F1.
        places: how many plans may run the whole way, those of `always` not counted.
        always: plans that do in any case.
        on_outcome: called with each whole outcome.
        level: as what they are scored: "F2", "F2S" or "F3".

    Returns:
        The whole outcomes, in the order in which they were made.
    """
    ranked = sorted((o for o in outcomes if o.within_budget), key=lambda o: o.rank, reverse=True)
    certain = list(dict.fromkeys([*always, *(o.plan for o in ranked[:1])]))
    rest = [o.plan for o in ranked[: max(1, places) * _ENTRANTS] if o.plan not in certain]
    whole: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        whole.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)

    for plan in certain:
        keep(problem.evaluate(plan, level))
    finished = 1
    for plan in rest:
        best = best_of(whole)
        if finished >= places or best is None:
            break
        outcome = problem.challenge(plan, best.plan, level)
        if outcome is not None:
            keep(outcome)
            finished += 1
    return whole
