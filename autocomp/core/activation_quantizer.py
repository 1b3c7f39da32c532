"""A layer's inputs in few bits: static, with a calibrated range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActivationQuantizer:
    """A forward pre-hook that rounds a layer's floating-point inputs to `2**bits` levels.

    x' = step * clip(round(x / step), lower, lower + 2**bits - 1): asymmetric, one static step for
    the whole tensor, zero exactly representable (Jacob et al. 2018, arXiv:1712.05877).

    Attributes:
        bits: bit-width in [2, 16].
        step: distance of two levels, a float32 number.
        lower: the least code, at most 0.
    """

    bits: int
    step: float
    lower: int

    def quantize(self, values: Tensor) -> Tensor:
        """Returns the rounded values, same shape and dtype."""
        codes = torch.clamp(
            torch.round(values / self.step), self.lower, self.lower + 2**self.bits - 1
        )
        return codes * self.step

    def error(self, sample: Tensor | None) -> float:
        """Returns a sample's squared error, relative to its energy; 0 without one."""
        if sample is None:
            return 0.0
        energy = float(sample.square().sum()) or 1.0
        return float((self.quantize(sample) - sample).square().sum()) / energy

    def __call__(self, module: object, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the inputs of a module call with the floating-point tensors rounded."""
        return tuple(
            self.quantize(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in inputs
        )
