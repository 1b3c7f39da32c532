"""A layer's weight under one choice."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autocomp.core.quantized import Quantized


@dataclass(frozen=True)
class CompressedLayer:
    """What a choice makes of a layer.

    Attributes:
        weight: codes and scales, or a tensor when it stays floating.
        error: mean squared error of the layer's outputs, relative to their energy.
        shift: float32 `(outputs,)`: by how much the mean of each output moves; None if unknown.
    """

    weight: Quantized | Tensor
    error: float
    shift: Tensor | None = None
