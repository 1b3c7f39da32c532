"""The contract of a compressor, and what a quantizer hands to the file writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.core.plan import Choice


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


@dataclass(frozen=True)
class Quantized:
    """Integer codes and their scales: `weight = scale * codes`, and code 0 is weight 0.

    Attributes:
        codes: int8 or int32 tensor of the weight's shape, centred so that zero is code 0.
        scale: float32 tensor that broadcasts over `codes` (one per output channel, or one);
            each is a bfloat16 number, two bytes in a file, or some 4 bits if it is on the grid of
            `scales.py`.
    """

    codes: Tensor
    scale: Tensor

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns the weight; the very operation that loading a file performs."""
        return (self.codes.to(torch.float32) * self.scale).to(dtype)
