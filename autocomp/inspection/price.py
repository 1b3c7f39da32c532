"""The marginal price of a byte at each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocomp.inspection.curve import ErrorCurve


@dataclass(frozen=True)
class Price:
    """What a unit of the budget is worth at one layer.

    Attributes:
        layer: the layer.
        saved: nats per unit that the layer's last step up its error curve has saved: what giving
            one unit back would cost. None if the layer is at the foot of its curve.
        next_choice: the next choice up the curve, in words; "" if the layer is at its top.
        next_cost: units that it would take.
        next_saving: nats that it is estimated to save.
    """

    layer: str
    saved: float | None
    next_choice: str
    next_cost: int
    next_saving: float


def prices(curves: Sequence[ErrorCurve]) -> tuple[Price, ...]:
    """Returns the marginal price at every layer whose choice lies on its curve."""
    return tuple(_price(curve) for curve in curves if curve.chosen is not None)


def _price(curve: ErrorCurve) -> Price:
    assert curve.chosen is not None  # `prices` leaves the others out
    here = curve.points[curve.chosen]
    front = [curve.points[i] for i in curve.front]
    below = [p for p in front if p.cost < here.cost and p.loss >= here.loss]
    above = [p for p in front if p.cost > here.cost and p.loss < here.loss]
    saved = None
    if below:
        step = max(below, key=lambda p: p.cost)
        saved = (step.loss - here.loss) / (here.cost - step.cost)
    if not above:
        return Price(curve.layer, saved, "", 0, 0.0)
    step = min(above, key=lambda p: p.cost)
    return Price(curve.layer, saved, step.choice, step.cost - here.cost, here.loss - step.loss)
