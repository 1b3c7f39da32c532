"""Integer codes and their scales: what a quantizer hands to the file writer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Quantized:
    """Integer codes and their scales: `weight = scale * codes`, and code 0 is weight 0.

    Attributes:
        codes: int8 or int32 tensor of the weight's shape, centred so that zero is code 0. Those of
            one bit are -1 and 1, and 0 where a weight is pruned.
        scale: float32 tensor that broadcasts over `codes` (one per output channel, or one);
            each is a bfloat16 number, two bytes in a file, or some 4 bits if it is on the grid of
            `artifacts/scales.py`.
    """

    codes: Tensor
    scale: Tensor

    @staticmethod
    def largest_code(bits: int) -> int:
        """Returns the largest code of a symmetric width: 2^(bits - 1) - 1, and 1 for one bit."""
        return max(1, (1 << (bits - 1)) - 1)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns the weight; the very operation that loading a file performs."""
        return (self.codes.to(torch.float32) * self.scale).to(dtype)
