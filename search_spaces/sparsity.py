"""AMC's action: the share of a layer's weights that is pruned."""

from __future__ import annotations

from autocomp.search_spaces.axes import AxisSpace, sparsity_axis


class SparsitySpace(AxisSpace):
    """Sparsity of each layer, practically continuous (He et al. 2018, arXiv:1802.03494).

    One action entry; -1 is `highest` sparsity, +1 is dense. Weights keep `weight_bits`.

    Args:
        highest: largest sparsity.
        levels: number of sparsities in the menu, evenly spaced down to 0.
        weight_bits: bits of every weight (32: floating point).
        discrete: menu indices instead of numbers in [-1, 1].
    """

    def __init__(
        self,
        highest: float = 0.98,
        levels: int = 99,
        weight_bits: int = 32,
        discrete: bool = False,
    ) -> None:
        super().__init__(
            [sparsity_axis(highest, levels)], discrete=discrete, fixed={"weight_bits": weight_bits}
        )
