"""Figures of the dense and of the compressed network, beside each other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from autocomp.core.score import Score


class ScorePair(NamedTuple):
    """Two scores on the same split."""

    dense: Score
    compressed: Score


class OutputPair(NamedTuple):
    """Two networks' outputs `(n, ...)` on the same inputs, in their order."""

    dense: Tensor
    compressed: Tensor
