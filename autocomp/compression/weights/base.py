"""The contract of a compressor, and what a quantizer hands to the file writer."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized


class Compressor(Protocol):
    """Maps a weight to a new one; never touches the old one.

    Its contract (tests/compressors): same shape, dtype and device; the identity at the neutral
    choice; exactly `stats.layer.zeros(choice)` zeros from a pruner; at most `2**bits` values per
    scale from a quantizer; zero stays zero.
    """

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns the compressed weight, a new tensor like `weight`."""
        ...


class Quantizer(Compressor, Protocol):
    """A compressor whose result is integer codes times scales, which is what a file stores."""

    def quantize(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Quantized:
        """Returns the codes and scales of the compressed weight; `weight_bits` must be < 32."""
        ...
