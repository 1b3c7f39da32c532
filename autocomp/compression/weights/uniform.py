"""Uniform quantization: symmetric or not, per tensor or per channel, range by least error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autocomp.artifacts.scales import LARGEST, LEAST, grid_numbers, round_scale_up, scale_from_codes
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights.base import Quantizer
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import ChoiceError

_FINER = range(-1, 15)
"""Scales that are tried, in grid steps below the one that spans all weights: ranges from 1.09 to
0.3 of the full one. Low bit-widths want about 0.4; the wider one finds quantized weights again."""

_ENOUGH = 1024
"""Values of a channel on which the range is chosen; a longer channel is sampled."""


@dataclass(frozen=True)
class UniformQuantizer(Quantizer):
    """Rounds each weight to one of at most `2**bits` evenly spaced levels.

    Zero is among them, but with one bit, where it is left to weights that are zero.

    Symmetric: codes q in [-(2^(b-1)-1), 2^(b-1)-1], w = s q; with one bit -1 and 1, where a weight
    is not zero. Asymmetric: q in [-z, 2^b-1-z] with an
    integer zero-point z, w = s q (Jacob et al. 2018, arXiv:1712.05877; Nagel et al. 2021,
    arXiv:2106.08295). Codes are stored relative to z, so that code 0 is weight 0 exactly. The
    scale is the one with the least squared error out of 16 on the grid of `scales.py`, which a file
    holds in some 4 bits without loss.

    Attributes:
        symmetric: one range for both signs.
        per_channel: one scale per output channel instead of one per tensor.
    """

    symmetric: bool = True
    per_channel: bool = True

    @classmethod
    def symmetric_per_channel(cls) -> UniformQuantizer:
        """Uniform, symmetric, one scale per output channel."""
        return cls(symmetric=True, per_channel=True)

    @classmethod
    def symmetric_per_tensor(cls) -> UniformQuantizer:
        """Uniform, symmetric, one scale per layer."""
        return cls(symmetric=True, per_channel=False)

    @classmethod
    def asymmetric_per_channel(cls) -> UniformQuantizer:
        """Uniform, with a zero-point, one scale per output channel."""
        return cls(symmetric=False, per_channel=True)

    @classmethod
    def asymmetric_per_tensor(cls) -> UniformQuantizer:
        """Uniform, with a zero-point, one scale per layer."""
        return cls(symmetric=False, per_channel=False)

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns the rounded weight; a plain copy for 32 bits."""
        if choice.weights.bits == 32:
            return weight.clone()
        return self.quantize(weight, choice, stats).dequantize(weight.dtype)

    def quantize(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Quantized:
        """Returns codes and scales.

        Args:
            weight: floating tensor of the layer's shape; zeros in it stay zero and do not count in
                the range's error.
            choice: its `weight_bits`, from 1 to 16.
            stats: names the layer and its output axis.

        Raises:
            ChoiceError: for 32 bits, or one bit that is not symmetric.
        """
        bits = choice.weights.bits
        if not 1 <= bits <= 16:
            raise ChoiceError(f"`1 <= weight_bits <= 16` must hold to quantize, but got {bits}.")
        if bits == 1 and not self.symmetric:
            raise ChoiceError(
                "One bit is a weight's sign, which needs a symmetric quantizer, but this one is "
                "asymmetric; take gptq or symmetric, or 2 bits."
            )
        axis = stats.layer.out_axis if self.per_channel else None
        rows = weight.detach().to(torch.float32)
        rows = (
            rows.movedim(axis, 0).reshape(rows.shape[axis], -1)
            if axis is not None
            else (rows.reshape(1, -1))
        )
        step, lower, upper = self._best_range(rows, bits)
        codes = self._rounded(rows / step, bits).clamp(lower, upper)
        shape = list(weight.shape)
        scale_shape = [1] * weight.dim()
        if axis is not None:
            shape.insert(0, shape.pop(axis))
            scale_shape[axis] = weight.shape[axis]
            codes = codes.reshape(shape).movedim(0, axis)
        small = bits <= 7 or (bits == 8 and self.symmetric)
        return Quantized(
            codes.reshape(weight.shape).to(torch.int8 if small else torch.int32).contiguous(),
            step.reshape(scale_shape),
        )

    def _bounds(self, rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        low, high = rows.amin(1, keepdim=True).clamp(max=0), rows.amax(1, keepdim=True).clamp(min=0)
        if self.symmetric:
            high = torch.maximum(high, -low)
            low = -high
        return low, high

    def _best_range(self, rows: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the step, least and largest code of each row."""
        low, high = self._bounds(rows, bits)
        levels = Quantized.largest_code(bits) if self.symmetric else 2**bits - 1
        span = high if self.symmetric else high - low
        best = (torch.ones_like(span), *self._code_range(bits, low, torch.ones_like(span)))
        best_error = torch.full_like(span, torch.inf)
        full = span / levels
        if bits == 1:  # the best step is the mean magnitude
            full = rows.abs().sum(1, keepdim=True) / (rows != 0).sum(1, keepdim=True).clamp(min=1)
        number = grid_numbers(_storable(full))
        rows, weights = _sample(rows)
        for finer in _FINER if bits < 16 else (0,):
            step = scale_from_codes((number - finer).clip(LEAST, LARGEST))
            step = step.reshape(span.shape).to(span.device)
            # a range that is cut is cut on both sides in proportion
            lower, upper = self._code_range(bits, low, torch.maximum(step, full))
            rounded = self._rounded(rows / step, bits).clamp(lower, upper) * step
            error = ((rounded - rows).square_() * weights).sum(1, keepdim=True)
            better = error < best_error
            step, lower, upper = (
                torch.where(better, new, old)
                for new, old in zip((step, lower, upper), best, strict=True)
            )
            best = (step, lower, upper)
            best_error = torch.where(better, error, best_error)
        return best

    def _rounded(self, values: Tensor, bits: int) -> Tensor:
        """Returns the nearest whole numbers; for one symmetric bit the signs."""
        return values.sign() if bits == 1 else values.round()

    def _code_range(self, bits: int, low: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        if self.symmetric:
            top = torch.full_like(step, Quantized.largest_code(bits))
            return -top, top
        zero_point = torch.clamp(torch.round(-low / step), 0, 2**bits - 1)
        return -zero_point, 2**bits - 1 - zero_point


def _sample(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns at most `_ENOUGH` values of each row, with their weights in a sum over the row.

    A long row is thinned evenly; its largest value, which clipping costs most, is always in.
    """
    enough = max(_ENOUGH, (1 << 16) // len(rows))
    n = rows.shape[1]
    if n <= 2 * enough:
        return rows, torch.ones(1)
    stride = -(-n // enough)
    thinned = rows[:, ::stride]
    extremes = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    weights = torch.full((thinned.shape[1] + 1,), (n - 1) / thinned.shape[1])
    weights[-1] = 1
    return torch.cat([thinned, extremes], 1), weights


def _storable(step: Tensor) -> Tensor:
    """Rounds a step up to the grid of scales; a channel of nothing but zeros gets step 1."""
    # to the nearest would cut 16-bit codes off at the top
    return round_scale_up(torch.where(step > 0, step, torch.ones_like(step)))
