"""Where a plan departs from the exact solver's, and what that was worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Departure:
    """One layer whose choice differs from the solver's.

    The differences are of the plan as it is, less the plan with this one layer put back: negative
    divergences and positive accuracies say that departing paid.

    Attributes:
        layer: the layer.
        chosen: the plan's choice, in words.
        solver: the solver's choice, in words.
        cost: units of the first budget that departing takes.
        estimated: nats of the additive model (F0).
        divergence: nats, measured (F1).
        accuracy: measured (F1).
        within_budget: whether the plan that is put back would meet every budget.
    """

    layer: str
    chosen: str
    solver: str
    cost: int
    estimated: float
    divergence: float
    accuracy: float
    within_budget: bool
