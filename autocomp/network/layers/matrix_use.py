"""How a module multiplies its input by a weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class MatrixUse:
    """A module that computes y = W x + b along the last axis of its first input.

    Attributes:
        parameter: name of the parameter W, a matrix.
        bias: name of the parameter b, a vector; "" without one.
        outputs_first: whether W is (outputs, inputs), as in `nn.Linear`; else (inputs, outputs).
    """

    parameter: str = "weight"
    bias: str = "bias"
    outputs_first: bool = True


LayerFinder = Callable[[nn.Module], MatrixUse | None]
"""Says of a module whether it is such a one, and how."""
