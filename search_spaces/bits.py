"""HAQ's action: the bit-width of a layer."""

from __future__ import annotations

from typing import Any

from autocomp.search_spaces.axes import Axis, AxisSpace, bits_axes


class BitsSpace(AxisSpace):
    """Weight bits of each layer, and activation bits where asked (HAQ, arXiv:1811.08886).

    One action entry per property with several values; -1 is the fewest bits. With one value of each
    there is one plan, and one entry that changes nothing.

    Args:
        weight_bits: the weight's bit-widths.
        activation_bits: the input's bit-widths; (32,) leaves inputs alone.
        output_bits: bit-widths of outputs that no next layer rounds, and of the sums that they go
            into, where a layer's inputs are rounded; "auto" is 8.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    def __init__(
        self,
        weight_bits: Any = (2, 3, 4, 5, 6, 7, 8),
        activation_bits: Any = (32,),
        output_bits: Any = "auto",
        discrete: bool = False,
    ) -> None:
        axes, fixed = bits_axes(weight_bits, activation_bits, output_bits)
        if not axes:
            axes = [Axis("weight_bits", (fixed.pop("weight_bits"),))]
        super().__init__(axes, discrete=discrete, fixed=fixed)
