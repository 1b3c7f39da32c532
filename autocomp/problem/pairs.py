"""Figures of the dense and of the compressed network, beside each other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from autocomp.core.score import Score
from autocomp.tasks.paired import Paired


class Tested(NamedTuple):
    """What reading the test split gave.

    Attributes:
        dense: the dense network's score.
        compressed: the compressed network's.
        gain: by how much one network's figure is above another's, sample by sample; None where no
            two were to be compared.
    """

    dense: Score
    compressed: Score
    gain: Paired | None


class ScorePair(NamedTuple):
    """Two scores on the same split."""

    dense: Score
    compressed: Score


class OutputPair(NamedTuple):
    """Two networks' outputs `(n, ...)` on the same inputs, in their order."""

    dense: Tensor
    compressed: Tensor
