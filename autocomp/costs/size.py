"""Bytes of the compressed file, everything in it included."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from safetensors.torch import save as safetensors_save
from torch import Tensor

from autocomp.artifacts.container import VERSION, pack
from autocomp.artifacts.index import Index
from autocomp.artifacts.records import range_bits, weight_bits
from autocomp.artifacts.side import side_bytes
from autocomp.compression.packing import packed
from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.quantized import Quantized
from autocomp.costs.base import Cost

_CODER_SLACK = 16
"""Bytes by which the range coder's last words and the padding of a file may differ."""

_MARGIN = 1.002
"""Share of an estimate that is charged for it.

Estimates of options that no plan of the solver's has taken may be a few percent off; whether a plan
that is evaluated meets the budget is told by what its options are."""


class Size(Cost):
    """Length in bytes of the file that `autocomp.artifacts` writes.

    A layer's share is the exact code length of its codes under the symbol model that the file
    would hold, plus that model, its scales and its activation range, rounded up; so that the sum is
    a few bytes above the file's real length (a byte a layer, 16, and 0.0002 bits a code at most)
    and never below it. Rounding noise can make a
    choice with more sparsity or fewer bits a few bytes dearer. The dense reference is the length of
    the plain safetensors file of the state dict. Unit: bytes.
    """

    unit = "bytes"

    def __init__(self, store: CompressionStore) -> None:
        self._store = store
        self._bytes: dict[tuple[str, Choice], int] = {}
        self._fixed: dict[int, int] = {}
        self._reference: int | None = None

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the bytes that the layer adds to the file."""
        key = (layer.name, choice)
        if key not in self._bytes:
            bits = self._weight_bits(layer, choice) + range_bits(layer, layer.in_effect(choice))
            self._bytes[key] = math.ceil(bits / 8) + self._named_type(layer, choice)
        return self._bytes[key]

    def estimate(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the bytes, or what a sample of a costly layer's rows makes of them and 0.2 %."""
        bits = self._store.estimated_bits(layer, choice)
        if bits is None:
            return self.of_layer(layer, choice)
        bits = _MARGIN * bits + range_bits(layer, layer.in_effect(choice))
        return math.ceil(bits / 8) + self._named_type(layer, choice)

    def _named_type(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the bytes that the index takes for the type of a weight that stays floating."""
        kind = self._store.dense(layer).dtype
        usual = kind == torch.float32 or choice.weights.bits < NEUTRAL.weights.bits
        return 0 if usual else len(f"{layer.parameter}{layer.host}{kind}")

    @staticmethod
    def of_weight(layer: LayerSpec, choice: Choice, weight: Quantized | Tensor) -> int:
        """Returns the bytes that the layer adds to the file with this weight."""
        return math.ceil(
            (weight_bits(weight, choice) + range_bits(layer, layer.in_effect(choice))) / 8
        )

    def _weight_bits(self, layer: LayerSpec, choice: Choice) -> float:
        """Measures a whole menu at once, so that its numbers are kept with its table."""
        store, part = self._store, choice.of_weights
        menu = store.menu(layer)
        if part not in menu or layer.name in store.estimated_layers:
            return weight_bits(store.weight(layer, part), part)
        found: list[float] = store.fact(
            layer,
            f"bits of codes {VERSION}",
            lambda: [weight_bits(store.weight(layer, c), c) for c in menu],
        )
        return found[menu[part]]

    def fixed(self, side_bits: int) -> int:
        """Returns the rest of the file: headers, side tensors, frozen layers, unsupported ones."""
        if side_bits not in self._fixed:
            self._fixed[side_bits] = self._measure_fixed(side_bits)
        return self._fixed[side_bits]

    @property
    def reference(self) -> int:
        """Length of the plain safetensors file of the dense network."""
        if self._reference is None:
            state = {k: v.contiguous().clone() for k, v in self._store.model.state_dict().items()}
            aliases = dict(self._store.network.aliases)
            self._reference = len(
                safetensors_save({k: v for k, v in state.items() if k not in aliases})
            )
        return self._reference

    def _measure_fixed(self, side_bits: int) -> int:
        """Writes a real file without codes once, and takes its layers' shares off."""
        network = self._store.network
        model = packed(self._store, network.neutral_plan(), self._store.model.state_dict())
        length = len(pack(model))
        shares = sum(self.of_layer(layer, NEUTRAL) for layer in network.layers)
        saved = side_bytes(model, 32) - side_bytes(model, side_bits)
        if side_bits == 16:  # codes are not told their type; a layer without is charged for it
            coded = {x.parameter: torch.zeros(x.shape) for x in network.layers}
            plain = replace(model, weights={**model.weights, **coded})
            saved += len(Index.of(model).to_bytes()) - len(Index.of(plain).to_bytes())
            saved -= sum(self._named_type(layer, NEUTRAL) for layer in network.layers)
        return length - shares - saved + _CODER_SLACK
