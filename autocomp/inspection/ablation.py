"""Where a plan departs from the exact solver's, and what that was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocomp.core.plan import Plan
from autocomp.inspection.curve import costs_at
from autocomp.search_spaces import FeasibleSpace

MOST = 24
"""Layers whose difference is measured; each takes an evaluation."""


@dataclass(frozen=True)
class LayerAblation:
    """One layer whose choice differs from the solver's.

    The differences are of the plan as it is, less the plan with this one layer put back: negative
    divergences and better qualities say that departing paid.

    Attributes:
        layer: the layer.
        chosen: the plan's choice, in words.
        solver: the solver's choice, in words.
        cost: units of the first budget that departing takes.
        estimated: divergence of the additive model (F0).
        divergence: measured (F1).
        quality: measured (F1).
        within_budget: whether the plan that is put back would meet every budget.
    """

    layer: str
    chosen: str
    solver: str
    cost: int
    estimated: float
    divergence: float
    quality: float
    within_budget: bool


def ablations(feasible: FeasibleSpace, plan: Plan) -> tuple[LayerAblation, ...]:
    """Measures what each difference from the exact solver's plan was worth.

    One layer at a time is put back, and the plan evaluated again at F1. Of more than `MOST` layers
    those with the largest estimated difference are measured.

    Args:
        feasible: the problem's feasible space.
        plan: a plan of its space.

    Raises:
        SpaceError: if the plan takes choices that the menu does not have.
    """
    indices = feasible.indices(plan)
    solver = feasible.allocation.plan
    steps = differing_layers(feasible, plan)
    steps.sort(key=lambda t: -abs(_estimated(feasible, indices, solver, t)))
    own = feasible.problem.evaluate(plan)
    found = []
    for step in sorted(steps[:MOST]):
        layer = feasible.layers[step].name
        choice = feasible.choices[step][solver[step]]
        back = feasible.problem.evaluate(plan.replace(layer, choice))
        costs = costs_at(feasible, indices, step)
        found.append(
            LayerAblation(
                layer=layer,
                chosen=str(plan[layer]),
                solver=str(choice),
                cost=int(costs[indices[step]] - costs[solver[step]]),
                estimated=_estimated(feasible, indices, solver, step),
                divergence=own.divergence - back.divergence,
                quality=own.quality - back.quality,
                within_budget=back.within_budget,
            )
        )
    return tuple(found)


def differing_layers(feasible: FeasibleSpace, plan: Plan) -> list[int]:
    """Returns the places of the layers whose choice differs from the exact solver's."""
    solver = feasible.allocation.plan
    return [t for t, index in enumerate(feasible.indices(plan)) if index != solver[t]]


def _estimated(
    feasible: FeasibleSpace, plan: Sequence[int], solver: Sequence[int], step: int
) -> float:
    losses = feasible.losses[step]
    return float(losses[plan[step]] - losses[solver[step]])
