"""The marginal price of a byte at each layer."""

from __future__ import annotations

from dataclasses import dataclass


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
