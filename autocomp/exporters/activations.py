"""Activation quantizers in ONNX's operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import rounded_output


@dataclass(frozen=True)
class TracedQuantizer:
    """An `ActivationQuantizer` in ONNX's operators, for tracing.

    q = min(saturate(round(x / step) - lower), 2^bits - 1) in uint8 or uint16, then
    x' = step * (q + lower): QuantizeLinear and DequantizeLinear with the same rounding (half to
    even) and, from the type's own limits and a Min of the integers, the same clipping. Fewer than
    8 bits are shifted to the top of the byte, at a step that is as many times smaller: exact, and
    the unit in which integer operators round biases gets finer.
    """

    quantizer: ActivationQuantizer

    def quantize(self, values: Tensor) -> Tensor:
        """Returns the rounded values; they are only meaningful in an exported graph."""
        own = self.quantizer
        kind = torch.uint8 if own.bits <= 8 else torch.uint16
        step, zero = torch.tensor(own.step), torch.tensor(-own.lower, dtype=kind)
        if 8 < own.bits < 16:  # runtimes lack Min for uint16
            values = values.clamp(max=(own.lower + 2**own.bits - 1) * own.step)
        codes = _symbolic("QuantizeLinear", (values, step, zero), kind, values)
        if own.bits < 8:
            shift = 8 - own.bits
            top, by = (torch.tensor(x, dtype=kind) for x in (2**own.bits - 1, shift))
            codes = _symbolic("Min", (codes, top), kind, values)
            codes = _symbolic("BitShift", (codes, by), kind, values, direction="LEFT")
            step = torch.tensor(own.step / 2**shift)
            zero = torch.tensor(-own.lower * 2**shift, dtype=kind)
        return _symbolic("DequantizeLinear", (codes, step, zero), torch.float32, values)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the inputs of a module call; what is given twice is quantized once."""
        done: dict[int, Tensor] = {}
        for x in inputs:
            if isinstance(x, Tensor) and x.is_floating_point() and id(x) not in done:
                done[id(x)] = self.quantize(x)
        return tuple(done.get(id(x), x) for x in inputs)

    def on_output(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Returns the output of a module call, rounded."""
        return rounded_output(self.quantize, output)


def _symbolic(
    operator: str, inputs: tuple[Tensor, ...], kind: torch.dtype, like: Tensor, **attributes: Any
) -> Tensor:
    made: Tensor = torch.onnx.ops.symbolic(
        operator, inputs, attributes, dtype=kind, shape=like.shape
    )
    return made
