"""The part of an axis that a plot shows at first."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles

_FAR = 3.0
"""Values further than this many interquartile ranges from the quartiles are far out."""


def span(values: Sequence[float], margin: float = 0.06) -> list[float]:
    """Returns a range with a margin around all values.

    Args:
        values: at least one.
        margin: share of the range on each side.
    """
    low, high = min(values), max(values)
    edge = margin * (high - low) or 0.01 * abs(high) or 0.01
    return [low - edge, high + edge]


def close_span(values: Sequence[float], kept: Sequence[float] = ()) -> tuple[list[float], int]:
    """Returns a range that leaves values out that lie far from the others, and how many it does.

    A single bad plan would otherwise press all others into a line (Tukey's outer fences).

    Args:
        values: at least one.
        kept: values that are always in.
    """
    if len(values) < 4:
        return span([*values, *kept]), 0
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    reach = _FAR * (upper - lower)
    near = [v for v in values if lower - reach <= v <= upper + reach]
    low, high = span([*near, *kept])
    return [low, high], sum(not low <= v <= high for v in values)
