"""Sparsity and bit-width of each layer in one action."""

from __future__ import annotations

from typing import Any

from autocomp.search_spaces.axes import AxisSpace, bits_axes, sparsity_axis


class JointSpace(AxisSpace):
    """Sparsity and weight bits of each layer, and activation bits where asked.

    Action entries: sparsity (-1 is `highest`, +1 is dense), then weight bits (-1 is the fewest),
    then activation bits if they have several values.

    Args:
        highest: largest sparsity.
        levels: number of sparsities, evenly spaced down to 0.
        weight_bits: the weight's bit-widths.
        activation_bits: the input's bit-widths; (32,) leaves inputs alone.
        output_bits: bit-widths of outputs that no next layer rounds, and of the sums that they go
            into, where a layer's inputs are rounded; "auto" is 8.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    def __init__(
        self,
        highest: float = 0.95,
        levels: int = 20,
        weight_bits: Any = (2, 3, 4, 5, 6, 8),
        activation_bits: Any = (32,),
        output_bits: Any = "auto",
        discrete: bool = False,
    ) -> None:
        axes, fixed = bits_axes(weight_bits, activation_bits, output_bits)
        super().__init__([sparsity_axis(highest, levels), *axes], discrete=discrete, fixed=fixed)
