"""Bytes of weights in memory while a network runs: packed codes, not an entropy-coded file."""

from __future__ import annotations

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs.base import Cost

_SCALE = 4
"""Bytes of a scale in float32, one an output channel."""


class WeightMemory(Cost):
    """Bytes of all weights at run time: `weights * bits / 8`, and four bytes a scale.

    What a device holds that computes with packed codes of fixed width: zeros take as much as other
    codes, and an entropy coder saves nothing. Taking channels or ranks away does. A layer whose
    codes and scales would take more than its plain weights counts as those. Biases, norms and
    frozen layers count as they are in the dense network. Unit: bytes.
    """

    unit = "bytes"

    def __init__(self, store: CompressionStore) -> None:
        network = store.network
        self._widths = {x.name: store.dense(x).element_size() for x in network.layers}
        self._usual = max(self._widths.values(), default=4)  # of factors, which have other names
        aliases = dict(network.aliases)
        state = store.model.state_dict()
        self._dense: int = sum(
            tensor.numel() * tensor.element_size()
            for name, tensor in state.items()
            if name not in aliases
        )
        self._fixed: int = self._dense - sum(self.of_layer(x, NEUTRAL) for x in network.layers)

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the bytes of the layer's weights and scales."""
        plain = layer.n_weights * self._widths.get(layer.name, self._usual)
        if choice.weights.bits == NEUTRAL.weights.bits:
            return plain
        codes = -(-layer.n_weights * choice.weights.bits // 8)
        return min(plain, codes + _SCALE * layer.outputs)

    def fixed(self, side_bits: int) -> int:
        """Returns the bytes of biases, norms, frozen layers and buffers."""
        return self._fixed

    @property
    def reference(self) -> int:
        """Bytes of the dense network's parameters and buffers, each once."""
        return self._dense
