"""How well cheaper levels order plans as a short training does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome

_LEAST = 3
"""Plans below which an order says nothing."""


@dataclass(frozen=True)
class Agreement:
    """A level against TUNED.

    Attributes:
        level: the level.
        tau: Kendall's tau-b of both orders, in [-1, 1].
        n: plans that both have judged.
        seconds: what the level took a plan, on average.
    """

    level: Fidelity
    tau: float
    n: int
    seconds: float


def agreements(outcomes: Iterable[Outcome]) -> tuple[Agreement, ...]:
    """Returns every level's agreement with TUNED, the cheapest first; () with too few plans.

    Plans are ordered as `Outcome.rank` does; levels that put all of them alike are left out.
    """
    from scipy.stats import kendalltau

    found: dict[Fidelity, dict[str, Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.fidelity, {})[outcome.plan.key] = outcome
    tuned = found.pop(Fidelity.TUNED, {})
    told = []
    for level, known in sorted(found.items()):
        shared = [key for key in tuned if key in known]
        if len(shared) < _LEAST:
            continue
        first, second = ([of[key].rank[1] for key in shared] for of in (known, tuned))
        tau = float(kendalltau(first, second).statistic)
        if tau == tau:
            seconds = sum(known[key].seconds for key in shared) / len(shared)
            told.append(Agreement(level, tau, len(shared), seconds))
    return tuple(told)
