"""A quantizer of a layer's inputs or outputs whose step is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import rounded_output
from autocomp.training.coded_weight import straight_round


class LearnedRange(nn.Module):
    """A forward pre-hook, or hook, that rounds to few bits; its step is trained.

    x' = step * clip(round(x / step), lower, upper), straight through; the step's gradient is that
    of LSQ (Esser et al. 2020, arXiv:1902.08153), divided by sqrt(inputs * upper). What is trained
    is the step's logarithm, relative to where it began.

    Args:
        quantizer: what to begin with.
    """

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.bits, self.lower, self.first = quantizer.bits, quantizer.lower, quantizer.step
        self.upper = quantizer.lower + 2**quantizer.bits - 1
        self.log_step = nn.Parameter(torch.zeros(()))

    def frozen(self) -> ActivationQuantizer:
        """Returns the quantizer as it is now; its step is a float32 number, as files hold it."""
        step = torch.tensor(
            self.first * math.exp(float(self.log_step.detach())), dtype=torch.float32
        )
        return ActivationQuantizer(self.bits, float(step), self.lower)

    def quantize(self, values: Tensor) -> Tensor:
        """Returns the rounded values."""
        share = 1 / math.sqrt(max(1, values.numel() // max(1, len(values))) * max(1, self.upper))
        log_step = self.log_step * share + (self.log_step * (1 - share)).detach()
        step = self.first * log_step.exp()
        scaled = (values / step).clamp(self.lower, self.upper)
        return straight_round(scaled) * step

    def forward(self, module: object, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the inputs of a module call with the floating-point tensors rounded."""
        return tuple(
            self.quantize(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in inputs
        )

    def on_output(self, module: object, inputs: object, output: Any) -> Any:
        """Returns the output of a module call, rounded."""
        return rounded_output(self.quantize, output)
