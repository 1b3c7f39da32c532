"""A cost: the weights that a forward pass reads."""

from autocomp.costs import Cost


class Traffic(Cost):
    """Bytes of weights that are read for one example: those that stay, packed, once a call."""

    unit = "bytes read"

    def __init__(self, store):
        network = store.network
        self._frozen = sum(4 * layer.n_weights * layer.calls for layer in network.frozen)
        self._searched = sum(4 * layer.n_weights * layer.calls for layer in network.layers)

    def of_layer(self, layer, choice):
        """Returns the layer's bytes, rounded up."""
        return -(-layer.nonzeros(choice) * choice.weights.bits * layer.calls // 8)

    def fixed(self, side_bits):
        """Returns the bytes of what no choice changes."""
        return self._frozen

    @property
    def reference(self):
        """Returns the dense network's bytes."""
        return self._searched + self._frozen
