"""Two networks on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

_Z = 1.959964
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True)
class PairedAccuracy:
    """How much more accurate one network is than another, sample by sample.

    With a samples that only the first gets right and b that only the second does, of n:
    difference = (a - b) / n, and its standard error is sqrt(a + b - (a - b)^2 / n) / n.

    Attributes:
        difference: in [-1, 1].
        low, high: a 95 % interval.
        n: samples.
    """

    difference: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, right: Tensor, other: Tensor) -> PairedAccuracy:
        """Compares two networks.

        Args:
            right: boolean `(n,)`: which samples the first network gets right.
            other: boolean `(n,)`: which the second does.
        """
        won, lost = int((right & ~other).sum()), int((other & ~right).sum())
        n = len(right)
        error = math.sqrt(max(won + lost - (won - lost) ** 2 / n, 0.0)) / n
        difference = (won - lost) / n
        return cls(difference, difference - _Z * error, difference + _Z * error, n)
