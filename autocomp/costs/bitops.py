"""Bit operations: MACs times weight bits times activation bits."""

from __future__ import annotations

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs.base import Cost
from autocomp.costs.macs import Macs


class BitOps(Cost):
    """`MACs(layer, choice) * weight_bits * activation_bits` (Baskin et al. 2018, arXiv:1804.10969).

    Floating point counts as 32 bits. Unit: BitOps of one example.
    """

    unit = "BitOps"

    def __init__(self, store: CompressionStore) -> None:
        self._macs = Macs(store)

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's bit operations."""
        inputs = layer.in_effect(choice).activations.bits
        return self._macs.of_layer(layer, choice) * choice.weights.bits * inputs

    def fixed(self, side_bits: int) -> int:
        """Returns the bit operations of the frozen layers and beside all layers, 32 x 32 a MAC."""
        return self._macs.fixed(side_bits) * 32 * 32

    @property
    def reference(self) -> int:
        """The dense network's bit operations, 32 x 32 a MAC."""
        return self._macs.reference * 32 * 32
