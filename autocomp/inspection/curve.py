"""A layer's error curve: what each choice costs and loses, and which one was taken."""

from __future__ import annotations

from dataclasses import dataclass


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
