"""The range in which values are quantized, chosen on calibration data."""

from __future__ import annotations

import torch

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.calibration.value_sample import ValueSample
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.errors import ChoiceError

_CLIPS = torch.linspace(1.0, 0.2, 33)


def activation_range(stats: LayerStatistics, bits: int) -> ActivationQuantizer:
    """Chooses the static range of a layer's inputs, see `value_range`.

    Args:
        stats: a sample of the layer's inputs, and their extremes.
        bits: bit-width in [2, 16].

    Raises:
        ChoiceError: if no input of the layer was seen, or its input cannot be hooked.
    """
    sample = stats.input_sample
    if sample is None or not stats.layer.quantizable_input:
        raise ChoiceError(
            f"Layer {stats.layer.name!r} has no input that can be quantized; "
            "leave its activation_bits at 32."
        )
    return value_range(sample, bits)


def value_range(sample: ValueSample, bits: int) -> ActivationQuantizer:
    """Chooses the static range with the least squared error on a sample.

    Args:
        sample: some values, and the extremes of all.
        bits: bit-width in [2, 16].
    """
    low, high = min(sample.minimum, 0.0), max(sample.maximum, 0.0)
    levels = 2**bits - 1
    best, best_error = ActivationQuantizer(bits, 1.0, 0), float("inf")
    for clip in _CLIPS.tolist():
        span = (high - low) * clip
        step = float(torch.tensor(span / levels, dtype=torch.float32)) or 1.0
        lower = -min(round(-low * clip / step), levels)
        candidate = ActivationQuantizer(bits, step, lower)
        error = float((candidate.quantize(sample.values) - sample.values).square().sum())
        if error < best_error:
            best, best_error = candidate, error
    return best
