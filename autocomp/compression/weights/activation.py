"""Activation quantization with a static, calibrated range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.errors import ChoiceError

_CLIPS = torch.linspace(1.0, 0.2, 33)


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

    def error(self, stats: LayerStatistics) -> float:
        """Returns the squared error of the sampled inputs, relative to their energy."""
        if stats.inputs is None:
            return 0.0
        energy = float(stats.inputs.square().sum()) or 1.0
        return float((self.quantize(stats.inputs) - stats.inputs).square().sum()) / energy

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the inputs of a module call with the floating-point tensors rounded."""
        return tuple(
            self.quantize(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in inputs
        )


def activation_range(stats: LayerStatistics, bits: int) -> ActivationQuantizer:
    """Chooses the static range with the least squared error on the calibration inputs.

    Args:
        stats: a sample of the layer's inputs, and their extremes.
        bits: bit-width in [2, 16].

    Raises:
        ChoiceError: if no input of the layer was seen, or its input cannot be hooked.
    """
    sample = stats.inputs
    if sample is None or not stats.layer.quantizable_input:
        raise ChoiceError(
            f"Layer {stats.layer.name!r} has no input that can be quantized; "
            "leave its activation_bits at 32."
        )
    low, high = min(stats.minimum, 0.0), max(stats.maximum, 0.0)
    levels = 2**bits - 1
    best, best_error = ActivationQuantizer(bits, 1.0, 0), float("inf")
    for clip in _CLIPS.tolist():
        span = (high - low) * clip
        step = float(torch.tensor(span / levels, dtype=torch.float32)) or 1.0
        lower = -min(round(-low * clip / step), levels)
        candidate = ActivationQuantizer(bits, step, lower)
        error = float((candidate.quantize(sample) - sample).square().sum())
        if error < best_error:
            best, best_error = candidate, error
    return best
