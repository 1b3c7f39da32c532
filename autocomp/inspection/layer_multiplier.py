"""By how much a search found a layer's estimated losses to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

from autocomp.agents.learned_multipliers import LearnedMultipliers


@dataclass(frozen=True)
class LayerMultiplier:
    """What the posterior agent has learned of one layer.

    A choice of estimated loss L counts as (multiplier + bend ln(L / L(start))) L, in units of all
    layers together.

    Attributes:
        layer: its name.
        multiplier: 1 where the estimate is right; more where the layer matters more.
        deviation: standard deviation of the multiplier.
        bend: positive where strong compression hurts more than is estimated.
        bend_deviation: standard deviation of the bend.
    """

    layer: str
    multiplier: float
    deviation: float
    bend: float
    bend_deviation: float


def layer_multipliers(learned: LearnedMultipliers | None) -> tuple[LayerMultiplier, ...]:
    """Returns what was learned, layer by layer; () for nothing."""
    if learned is None:
        return ()
    mean, deviation = learned.mean, learned.deviation
    columns = (mean.theta, deviation.theta, mean.kappa, deviation.kappa)
    return tuple(
        LayerMultiplier(name, *map(float, row))
        for name, row in zip(learned.layers, zip(*columns, strict=True), strict=True)
    )
