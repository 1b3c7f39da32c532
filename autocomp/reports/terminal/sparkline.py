"""Numbers as a row of block characters: curves, bars, and which items of a long list to show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

BLOCKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def sparkline(
    values: Sequence[float | None],
    width: int = 0,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Draws a curve, one block a value: level `floor(8 (v - low) / (high - low))`, at most 7.

    Args:
        values: the curve; None and what is not finite leaves a space.
        width: at most so many blocks, for which values are picked evenly, both ends among them; 0
            draws all.
        low: the value of the lowest block; the least value if None.
        high: the value of the highest block; the largest value if None.

    Returns:
        The blocks; of middle height where all values are equal.
    """
    picked = thin(values, width) if width else list(values)
    finite = [v for v in picked if v is not None and math.isfinite(v)]
    if not finite:
        return " " * len(picked)
    bottom = min(finite) if low is None else low
    top = max(finite) if high is None else high
    return "".join(_block(v, bottom, top) for v in picked)


def bar(share: float, width: int = 6) -> str:
    """Draws a share as a bar: `width` blocks mean 1; what is not nothing is at least an eighth.

    Args:
        share: clipped to [0, 1]; nothing is drawn for what is not finite.
        width: blocks of a whole bar.

    Returns:
        The bar, in eighths of a block, without padding.
    """
    if not math.isfinite(share) or share <= 0:
        return ""
    eighths = max(1, round(min(share, 1.0) * width * 8))
    return BLOCKS[-1] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def thin(items: Sequence[T], most: int) -> list[T]:
    """Returns at most `most` items in their order, evenly picked, the first and last among them.

    Args:
        items: the items.
        most: at least 1; with 1 the last item is kept.
    """
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _block(value: float | None, low: float, high: float) -> str:
    if value is None or not math.isfinite(value):
        return " "
    if not high > low:
        return BLOCKS[3]
    level = math.floor(len(BLOCKS) * (value - low) / (high - low))
    return BLOCKS[min(max(level, 0), len(BLOCKS) - 1)]
