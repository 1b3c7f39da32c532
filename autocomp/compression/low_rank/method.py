"""What a decomposition has to offer; the rest is done once, for all of them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.recovery.gram import Gram


class Decomposition(Protocol):
    """A way to write one layer as a chain of plain ones.

    A method gets only layers that it applies to, and ranks in [1, full rank]; `decompose` checks
    both, copies the weights into modules, and puts the bias on the last one.
    `autocomp.testing.DecompositionContract` holds the contract.
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether the layer has such a form."""
        ...

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns the largest sensible rank."""
        ...

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns the chain's layers, without biases, in closed form."""
        ...

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns the weights of `pieces`, in their shapes.

        Args:
            weight: float64 `(outs, ins, *kernel)`, on the CPU; not modified.
            rank: the rank.
            gram: moments of the layer's inputs, of its shape; None if they are not known.

        Raises:
            DataError: if the method needs `gram` and there is none.
        """
        ...
