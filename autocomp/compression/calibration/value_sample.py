"""A sample of the values that pass one place of a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE = 1 << 15
"""Values kept of one place, drawn evenly over the batches."""


@dataclass(frozen=True)
class ValueSample:
    """What calibration saw of one tensor.

    Attributes:
        values: 1-D float32, some of its values.
        minimum: the least of all.
        maximum: the largest of all.
    """

    values: Tensor
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Tensor, share: int) -> ValueSample:
        """Returns a sample of some `share` of the values."""
        flat = values.detach().reshape(-1)
        stride = max(1, flat.numel() // share) | 1  # odd: not in step with rows
        kept = flat[::stride][:share].to(torch.float32)
        return cls(kept, float(flat.min()), float(flat.max()))

    def joined(self, other: ValueSample | None) -> ValueSample:
        """Returns this sample behind another one."""
        if other is None:
            return self
        return ValueSample(
            torch.cat([other.values, self.values]),
            min(other.minimum, self.minimum), max(other.maximum, self.maximum),
        )  # fmt: skip
