"""A layer's error curve: what each choice costs and loses, and which one was taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autocomp.allocation.pareto import pareto_front
from autocomp.search_spaces import FeasibleSpace


@dataclass(frozen=True)
class CurvePoint:
    """One choice of a layer's menu.

    Attributes:
        choice: the choice, in words.
        cost: what the layer costs under it, in the unit of the run's first budget.
        loss: what it alone is estimated to add to the divergence of the outputs (F0, nats).
    """

    choice: str
    cost: int
    loss: float


@dataclass(frozen=True)
class ErrorCurve:
    """All choices of one layer.

    Attributes:
        layer: the layer.
        points: its menu, the cheapest first.
        front: places in `points` of the choices that no other undercuts, the cheapest first.
        chosen: place of the plan's choice; None if the menu does not have it.
        solver: place of the choice in the exact solver's plan.
    """

    layer: str
    points: tuple[CurvePoint, ...]
    front: tuple[int, ...]
    chosen: int | None
    solver: int


def error_curves(feasible: FeasibleSpace, indices: Sequence[int]) -> tuple[ErrorCurve, ...]:
    """Returns the error curve of every layer.

    Args:
        feasible: the problem's feasible space.
        indices: the plan, as choice indices. Where choices change shapes, a layer's cost depends on
            the others', which are taken from here; it is what the plan costs above the layer's
            cheapest choice.
    """
    found = []
    for step, choices in enumerate(feasible.choices):
        costs, losses = costs_at(feasible, indices, step), feasible.losses[step]
        order = np.lexsort((np.arange(len(costs)), losses, costs))
        place = {int(index): i for i, index in enumerate(order)}
        points = tuple(
            CurvePoint(str(choices[i]), int(costs[i]), float(losses[i])) for i in order.tolist()
        )
        found.append(
            ErrorCurve(
                layer=feasible.layers[step].name,
                points=points,
                front=tuple(place[i] for i in pareto_front(costs, losses).tolist()),
                chosen=place[indices[step]],
                solver=place[feasible.allocation.plan[step]],
            )
        )
    return tuple(found)


def costs_at(feasible: FeasibleSpace, indices: Sequence[int], step: int) -> NDArray[np.int64]:
    """Returns `(n_choices,)`: what layer `step` costs under each choice, in the first budget."""
    return np.asarray(feasible.allocation.own(indices, step)[:, 0], np.int64)
