"""Two networks on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from autocomp.core.score import WORST
from autocomp.tasks.measure import standard_error

_Z = 1.959964
"""Standard errors of a 95 % interval."""
_CONFIDENCE = 2.4
"""Standard errors of a paired difference: one-sided 5 % over ten looks at growing sets (Pocock)."""


@dataclass(frozen=True)
class Paired:
    """How much one network's figure is above another's, sample by sample.

    With d_i the differences of the samples' shares in the figure (`Measure.shares`): difference =
    sum d, and its standard error is sqrt(sum d^2 - (sum d)^2 / n). For accuracies, with a samples
    that only the first gets right and b that only the second does: (a - b) / n and
    sqrt(a + b - (a - b)^2 / n) / n.

    Attributes:
        difference: of the figures, in their own unit.
        low, high: a 95 % interval.
        n: samples.
    """

    difference: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, shares: Tensor, other: Tensor) -> Paired:
        """Compares two networks.

        Args:
            shares: `(n,)`: the samples' shares in the first network's figure.
            other: in the second's.
        """
        differences = shares.double() - other.double()
        error = standard_error(differences)
        difference = float(differences.sum())
        if math.isnan(error):  # nothing is known of how far it may be off
            known = 0.0 if math.isnan(difference) else difference
            return cls(known, -WORST, WORST, len(differences))
        return cls(difference, difference - _Z * error, difference + _Z * error, len(differences))


def is_behind(shares: Tensor, best: Tensor, larger_is_better: bool = True) -> bool:
    """Whether one network's figure lies significantly behind another's, sample by sample.

    -sum d > 2.4 sqrt(sum d^2): for accuracies McNemar's test, a - b > 2.4 sqrt(a + b) with a
    samples that only the other gets right and b that only this one does; strict enough to be
    repeated.

    Args:
        shares: `(n,)`: the samples' shares in this network's figure.
        best: in the other's.
        larger_is_better: which way the figure improves.
    """
    differences = (shares - best).double() * (1 if larger_is_better else -1)
    scatter = math.sqrt(float(differences.square().sum()))
    return float(differences.sum()) < -_CONFIDENCE * scatter - 1e-12
