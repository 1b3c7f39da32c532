"""Multiply-accumulates with weights that are not pruned."""

from __future__ import annotations

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs.base import Cost


class Macs(Cost):
    """Multiply-accumulates of one example: `macs * nonzeros / n`, rounded up, summed over layers.

    What multiplies beside the layers (attention's products, recurrent layers, computed weights)
    counts as in the dense network, whatever a plan removes: MACs are never understated.

    A mask alone makes no network faster; this is the theoretical speed-up of the literature
    (Blalock et al. 2020, arXiv:2003.03033), not a measured one. Unit: MACs.
    """

    unit = "MACs"

    def __init__(self, store: CompressionStore) -> None:
        network = store.network
        self._fixed = sum(layer.macs for layer in network.frozen) + network.other_macs
        self._dense = network.macs

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's MACs on weights that stay."""
        return -(-layer.macs * layer.nonzeros(choice) // layer.n_weights)

    def fixed(self, side_bits: int) -> int:
        """Returns the MACs of the frozen layers and of what multiplies beside all layers."""
        return self._fixed

    @property
    def reference(self) -> int:
        """The dense network's MACs."""
        return self._dense
