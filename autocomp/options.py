"""Each layer's options: the compressed weight and the error of every (layer, choice), made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from autocomp.calibration import LayerStatistics
from autocomp.compressors.activation import ActivationQuantizer, activation_range
from autocomp.compressors.base import Quantized
from autocomp.compressors.pipeline import Pipeline
from autocomp.layers import LayerSpec, Network
from autocomp.plan import Choice

CACHE_BYTES = 2 << 30
"""Memory for compressed weights; the least recently used go first."""


class OptionStore:
    """Compressed weights and their errors, computed when first asked for.

    Attributes:
        model: the dense network; not modified.
        network: its layers.
        pipeline: what compresses a weight.
        stats: layer name -> calibration statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        network: Network,
        stats: Mapping[str, LayerStatistics] | None = None,
        pipeline: Pipeline | None = None,
    ) -> None:
        self.model = model
        self.network = network
        self.pipeline = pipeline or Pipeline()
        self.stats = stats or {layer.name: LayerStatistics(layer) for layer in network.layers}
        # compressed on the processor: codes are small, and a file needs them there
        self._dense = {
            layer.name: model.get_parameter(layer.parameter).detach().cpu()
            for layer in network.layers
        }
        self._errors: dict[tuple[str, Choice], float] = {}
        self._weights: OrderedDict[tuple[str, Choice], Quantized | Tensor] = OrderedDict()
        self._held = 0
        self._pruned: tuple[tuple[str, Choice], Tensor] | None = None
        self._activations: dict[tuple[str, int], ActivationQuantizer] = {}

    def dense(self, layer: LayerSpec) -> Tensor:
        """Returns the layer's original weight, on the processor."""
        return self._dense[layer.name]

    def weight(self, layer: LayerSpec, choice: Choice) -> Quantized | Tensor:
        """Returns the compressed weight: codes and scales, or a tensor when it stays floating."""
        key = (layer.name, _weight_part(choice))
        if key in self._weights:
            self._weights.move_to_end(key)
            return self._weights[key]
        return self._compute(layer, key)

    def error(self, layer: LayerSpec, choice: Choice) -> float:
        """Returns the squared error of the weight, relative to its squared norm."""
        key = (layer.name, _weight_part(choice))
        if key not in self._errors:
            self._compute(layer, key)
        return self._errors[key]

    def activation(self, layer: LayerSpec, bits: int) -> ActivationQuantizer:
        """Returns the calibrated quantizer of the layer's inputs; ChoiceError if it has none."""
        key = (layer.name, bits)
        if key not in self._activations:
            self._activations[key] = activation_range(self.stats[layer.name], bits)
        return self._activations[key]

    def _compute(self, layer: LayerSpec, key: tuple[str, Choice]) -> Quantized | Tensor:
        choice = key[1]
        dense = self._dense[layer.name]
        # a menu asks for all bit-widths of one sparsity in a row: its zeros are found once
        zeros = (layer.name, Choice(choice.sparsity, choice.pattern))
        if self._pruned is None or self._pruned[0] != zeros:
            pruned = self.pipeline.prune(dense, choice, self.stats[layer.name])
            self._pruned = (zeros, pruned)
        compressed = self.pipeline.round(self._pruned[1], choice, self.stats[layer.name])
        kept = compressed.quantized or compressed.weight
        if key not in self._errors:
            energy = float(dense.square().sum()) or 1.0
            self._errors[key] = float((compressed.weight - dense).square().sum()) / energy
        self._weights[key] = kept
        self._held += _bytes(kept)
        while self._held > CACHE_BYTES and len(self._weights) > 1:
            self._held -= _bytes(self._weights.popitem(last=False)[1])
        return kept


def _weight_part(choice: Choice) -> Choice:
    """The choice without its activation bits: they do not change the weight."""
    return Choice(choice.sparsity, choice.pattern, choice.weight_bits)


def _bytes(weight: Quantized | Tensor) -> int:
    tensor = weight.codes if isinstance(weight, Quantized) else weight
    return tensor.numel() * tensor.element_size()
