"""N:M patterns, which sparse tensor cores understand, with bit-widths."""

from __future__ import annotations

from typing import Any

from autocomp.search_spaces.axes import Axis, AxisSpace, as_tuple, bits_axes


class NMSpace(AxisSpace):
    """An N:M pattern and weight bits of each layer (Mishra et al. 2021, arXiv:2104.08378).

    Action entries: the pattern (-1 keeps the fewest weights, +1 is dense), then weight bits, then
    activation bits if they have several values. A layer with fewer inputs than a pattern's M is
    not offered that pattern.

    Args:
        patterns: "N:M" texts; dense is always added.
        weight_bits: the weight's bit-widths.
        activation_bits: the input's bit-widths; (32,) leaves inputs alone.
        output_bits: bit-widths of outputs that no next layer rounds, and of the sums that they go
            into, where a layer's inputs are rounded; "auto" is 8.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    def __init__(
        self,
        patterns: Any = ("1:16", "1:8", "1:4", "2:4", "3:4"),
        weight_bits: Any = (2, 3, 4, 5, 6, 8),
        activation_bits: Any = (32,),
        output_bits: Any = "auto",
        discrete: bool = False,
    ) -> None:
        def kept(pattern: str) -> float:
            n, _, m = str(pattern).partition(":")
            return int(n) / int(m)

        named = Axis("pattern", as_tuple(patterns))  # refuses malformed patterns before sorting
        ordered = tuple(sorted((p for p in named.values if p), key=kept))
        axes, fixed = bits_axes(weight_bits, activation_bits, output_bits)
        super().__init__([Axis("pattern", (*ordered, "")), *axes], discrete=discrete, fixed=fixed)
