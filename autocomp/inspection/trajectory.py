"""What a list of outcomes says: the best so far, and the front of quality against a cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from autocomp.allocation.pareto import pareto_front as front_of
from autocomp.core.outcome import Outcome


class TrailPoint(NamedTuple):
    """How far a search had come after one evaluation.

    Attributes:
        evaluation: evaluations done, from 1.
        seconds: what they took together.
        best: the best feasible outcome among them, by `Outcome.rank`, the earliest among equals.
    """

    evaluation: int
    seconds: float
    best: Outcome


def best_so_far(outcomes: Iterable[Outcome]) -> tuple[TrailPoint, ...]:
    """Returns a point for every evaluation from the first feasible one on.

    Args:
        outcomes: outcomes of one fidelity (ranks of different ones do not compare), in order.
    """
    points: list[TrailPoint] = []
    best: Outcome | None = None
    seconds = 0.0
    for number, outcome in enumerate(outcomes, 1):
        seconds += outcome.seconds
        if outcome.within_budget and (best is None or outcome.rank > best.rank):
            best = outcome
        if best is not None:
            points.append(TrailPoint(number, seconds, best))
    return tuple(points)


def improvements(trail: Iterable[TrailPoint]) -> tuple[TrailPoint, ...]:
    """Returns the points of a trail at which its best changed."""
    found: list[TrailPoint] = []
    for point in trail:
        if not found or point.best is not found[-1].best:
            found.append(point)
    return tuple(found)


def pareto_front(outcomes: Iterable[Outcome], cost: str = "size") -> tuple[Outcome, ...]:
    """Returns the outcomes that no other undercuts in cost without being worse.

    Both cost and quality rise strictly along the front; of equals the earliest is on it.

    Args:
        outcomes: any outcomes; those that do not know `cost` are passed over. Qualities of
            different splits do not compare, so give those of one fidelity.
        cost: the cost's name.

    Returns:
        The front, the cheapest first.
    """
    known = [outcome for outcome in outcomes if cost in outcome.costs]
    if not known:
        return ()
    costs = np.array([outcome.costs[cost] for outcome in known], np.int64)
    errors = np.array([-outcome.utility for outcome in known])
    return tuple(known[i] for i in front_of(costs, errors).tolist())
