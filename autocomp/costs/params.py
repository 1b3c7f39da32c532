"""Parameters that are not pruned."""

from __future__ import annotations

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs.base import Cost


class Params(Cost):
    """Number of parameters that pruning leaves; rounding to few bits may zero some more.

    Unit: parameters. Every parameter counts, also biases and those of frozen layers.
    """

    unit = "params"

    def __init__(self, store: CompressionStore) -> None:
        network = store.network
        self._fixed = network.n_parameters - sum(layer.n_weights for layer in network.layers)
        self._dense = network.n_parameters

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's weights that stay: n - zeros(choice)."""
        return layer.nonzeros(choice)

    def fixed(self, side_bits: int) -> int:
        """Returns the number of all other parameters."""
        return self._fixed

    @property
    def reference(self) -> int:
        """The dense network's number of parameters."""
        return self._dense
