"""A layer's outputs in few bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autocomp.core.activation_quantizer import ActivationQuantizer


@dataclass(frozen=True)
class OutputQuantizer:
    """A forward hook that rounds what a module returns, where that is a floating-point tensor.

    Attributes:
        module: the name of the module that it belongs to, an `OutputSite`'s.
        quantizer: what rounds.
    """

    module: str
    quantizer: ActivationQuantizer

    def __call__(self, module: object, inputs: tuple[Any, ...], output: Any) -> Any:
        """Returns the output of a module call, rounded."""
        return rounded_output(self.quantizer.quantize, output)


def rounded_output(quantize: Callable[[Tensor], Tensor], output: Any) -> Any:
    """Returns what a module returned, rounded where that is a floating-point tensor."""
    if isinstance(output, Tensor) and output.is_floating_point():
        return quantize(output)
    return output
