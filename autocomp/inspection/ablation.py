"""Where a plan departs from the exact solver's, and what that was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocomp.core.plan import Plan
from autocomp.envs import PlanMenu
from autocomp.inspection.curve import costs_at

MOST = 24
"""Layers whose departure is measured; each takes an evaluation."""


@dataclass(frozen=True)
class LayerAblation:
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


def ablations(menu: PlanMenu, plan: Plan) -> tuple[LayerAblation, ...]:
    """Measures what each departure from the exact solver's plan was worth.

    One layer at a time is put back, and the plan evaluated again at F1. Of more than `MOST` layers
    those with the largest estimated difference are measured.

    Args:
        menu: the problem's menu.
        plan: a plan of its space.

    Raises:
        SpaceError: if the plan takes choices that the menu does not have.
    """
    indices = menu.indices(plan)
    solver = menu.solver.plan
    steps = differing_layers(menu, plan)
    steps.sort(key=lambda t: -abs(_estimated(menu, indices, solver, t)))
    own = menu.problem.evaluate(plan)
    found = []
    for step in sorted(steps[:MOST]):
        layer = menu.layers[step].name
        choice = menu.choices[step][solver[step]]
        back = menu.problem.evaluate(plan.replace(layer, choice))
        costs = costs_at(menu, indices, step)
        found.append(
            LayerAblation(
                layer=layer,
                chosen=str(plan[layer]),
                solver=str(choice),
                cost=int(costs[indices[step]] - costs[solver[step]]),
                estimated=_estimated(menu, indices, solver, step),
                divergence=own.divergence - back.divergence,
                accuracy=own.accuracy - back.accuracy,
                within_budget=back.within_budget,
            )
        )
    return tuple(found)


def differing_layers(menu: PlanMenu, plan: Plan) -> list[int]:
    """Returns the places of the layers whose choice differs from the exact solver's."""
    solver = menu.solver.plan
    return [t for t, index in enumerate(menu.indices(plan)) if index != solver[t]]


def _estimated(menu: PlanMenu, plan: Sequence[int], solver: Sequence[int], step: int) -> float:
    losses = menu.losses[step]
    return float(losses[plan[step]] - losses[solver[step]])
