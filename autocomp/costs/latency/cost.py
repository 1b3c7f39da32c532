"""Measured time of a forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.structured import Inputs, leaves_of, moved
from autocomp.costs.base import Cost
from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.precision import FLOAT32, INT8, Precision, runs_as
from autocomp.costs.latency.table import LatencyTable
from autocomp.errors import LayerError, unknown
from autocomp.runtime import call_overhead, network_latency, noise
from autocomp.storage.cache import default_root

WHOLE = 1000
"""Of `Latency.slowness`: as estimated."""


class Latency(Cost):
    """Nanoseconds of a forward pass in onnxruntime: measured layers, and a measured rest.

        of_layer  = calls * table(geometry, channels that stay, arithmetic) * scale
        scale     = min(1, whole dense network / sum of its dense layers)
        fixed     = frozen layers + whole dense network - sum of its dense layers * scale
        reference = whole dense network

    A layer is measured on its own, once per machine (as in He et al. 2018, arXiv:1802.03494), and
    between measured channel counts the table interpolates; so fewer channels never cost more. Zeros
    in a weight change nothing. Codes of at most 8 bits on both sides run as int8 where that is
    faster, everything else as float32: other codes are turned back on loading. What is no layer
    (activations, norms, additions, pooling) is taken as it is in the dense network, and so are the
    layers that cannot be measured. What calling any network takes is left out, for no plan changes
    it. The sum is an estimate; `network_latency` checks it. Unit: ns.

    Attributes:
        slowness: the time that a measured network took of that of its layers, per mille. A layer
            that is changed counts as so much, and never as more than the dense layer.

    A network that has lost channels has other `LayerSpec`s of the same names: ask the dense
    network's object about them.

    Args:
        store: the dense network and its layers.
        example: a batch of its inputs; the store's `example` if None.
            Without either, the whole network counts as the sum of its layers.
        table: measured times; a new one in the user's cache folder if None.
        batch: examples a forward pass.
        whole: measures the dense network in nanoseconds; onnxruntime if None.

    Nothing is measured, and no library loaded, before the first number is asked for. Numbers raise
    ModelError if onnxruntime is missing, or the network cannot be exported.
    """

    unit = "ns"
    measured = True

    def __init__(
        self,
        store: CompressionStore,
        example: Inputs | None = None,
        table: LatencyTable | None = None,
        batch: int = 1,
        whole: Callable[[], int] | None = None,
    ) -> None:
        self._store, self._batch = store, batch
        self._example = store.example if example is None else example
        self.table = table or LatencyTable(default_root())
        self._whole = whole
        self._memo: dict[tuple[str, Precision, int, int], int] = {}
        self.slowness = WHOLE

    @cached_property
    def geometries(self) -> dict[str, Geometry | str]:
        """Each layer's geometry, or why it has none."""
        network, model = self._store.network, self._store.model
        found: dict[str, Geometry | str] = {}
        others = 4 * sum(layer.n_weights for layer in (*network.layers, *network.frozen))
        for layer in (*network.layers, *network.frozen):
            module = model.get_submodule(layer.owner)
            try:
                found[layer.name] = Geometry.of(layer, module, self._batch, others)
            except LayerError as reason:
                found[layer.name] = str(reason)
        return found

    @property
    def unmeasured(self) -> dict[str, str]:
        """Layers that count as 0, as they are part of the rest -> why."""
        return {k: v for k, v in self.geometries.items() if isinstance(v, str)}

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's nanoseconds; LayerError for a layer that the network does not have.

        Args:
            layer: a layer of the dense network, or what is left of it in a smaller one.
            choice: what is done to it beyond that.
        """
        return self.of_geometry(layer, choice, layer.inputs, layer.outputs)

    def of_geometry(self, layer: LayerSpec, choice: Choice, inputs: int, outputs: int) -> int:
        """Returns the nanoseconds of a layer of the dense network with fewer channels.

        Args:
            layer: gives the name, and how often the layer is called.
            choice: its bit-widths decide the arithmetic.
            inputs: inputs that stay.
            outputs: outputs that stay.

        Raises:
            LayerError: if the network has no such layer, or fewer channels than asked for.
        """
        if layer.name not in self.geometries:
            raise LayerError(unknown("layer", layer.name, self.geometries))
        small = self._raw(layer, choice, inputs, outputs) * self._scale[0] // self._scale[1]
        if self.slowness == WHOLE:
            return small
        full = self._raw(layer, NEUTRAL, *self._full(layer)) * self._scale[0] // self._scale[1]
        return min(full, small * self.slowness // WHOLE)

    def _full(self, layer: LayerSpec) -> tuple[int, int]:
        """Returns the dense layer's inputs and outputs."""
        geometry = self.geometries[layer.name]
        if isinstance(geometry, str):
            return layer.inputs, layer.outputs
        return geometry.inputs, geometry.outputs

    def fixed(self, side_bits: int) -> int:
        """Returns the nanoseconds of frozen layers and of all that is no layer."""
        layers = sum(self.of_layer(layer, NEUTRAL) for layer in self._store.network.layers)
        return self.reference - layers

    @cached_property
    def reference(self) -> int:
        """The dense network's nanoseconds."""
        if self._whole is None and self._example is None:
            return self._sum
        key = self.key_of_whole(not self.table.elsewhere)
        return self.table.number(key, self._whole or self._measure_whole)

    def key_of_whole(self, code: bool) -> str:
        """Returns the dense network's key in a table.

        Args:
            code: whether its forward pass's byte code counts, which is another in each Python.
        """
        digest = _shape_digest(self._store.model, self._example, code)
        return f"network without the call {digest} batch {self._batch}"

    def _raw(self, layer: LayerSpec, choice: Choice, inputs: int, outputs: int) -> int:
        """Returns what the table says, without the scale."""
        geometry = self.geometries[layer.name]
        if isinstance(geometry, str):
            return 0
        activation_bits = choice.activations.bits if layer.quantizable_input else 32
        if layer.output_sites and choice.activations.output_bits > 8:
            activation_bits = 32  # integers go in, but floats come out
        precision = runs_as(choice.weights.bits, activation_bits)
        key = (layer.name, precision, inputs, outputs)
        if key not in self._memo:
            time = self.table.estimate(geometry, FLOAT32, inputs, outputs)
            if precision == INT8:
                time = min(time, self.table.estimate(geometry, INT8, inputs, outputs))
            self._memo[key] = time
        return layer.calls * self._memo[key]

    @cached_property
    def _sum(self) -> int:
        """The dense layers' times in sum."""
        network = self._store.network
        layers = (*network.layers, *network.frozen)
        return sum(self._raw(x, NEUTRAL, x.inputs, x.outputs) for x in layers)

    @cached_property
    def _scale(self) -> tuple[int, int]:
        """Numerator and denominator of what makes the layers fit into the network, at most 1.

        A layer on its own changes its memory layout twice, which a chain of layers does once.
        """
        return min(self.reference, self._sum), max(self._sum, 1)

    def _measure_whole(self) -> int:
        assert self._example is not None
        machine, repeats = self.table.machine, self.table.repeats
        seconds = network_latency(
            self._store.model, self._example, machine.threads, repeats, self._batch
        )
        return max(1, round(seconds * 1e9) - call_overhead(machine.threads))

    @property
    def can_be_checked(self) -> bool:
        """Whether a network can be timed here as its layers were: one example, one thread."""
        own = self._whole is None and self._example is not None and not self.table.elsewhere
        return own and self._batch == 1 and self.table.machine.threads == 1

    def noise(self) -> int:
        """Returns by how many nanoseconds measurements of the dense network differ just now.

        0 where it is not measured here.
        """
        if self._whole is not None or self._example is None or self.table.elsewhere:
            return 0
        inputs = moved(self._example[:1], lambda leaf: leaf.expand(self._batch, *leaf.shape[1:]))
        return round(noise(self._store.model, inputs, self.table.machine.threads) * 1e9)


def _shape_digest(model: nn.Module, example: Inputs | None, with_code: bool) -> str:
    """Returns what stands for a network's operators and shapes, whatever its weights."""
    digest = hashlib.sha256(str(model).encode())
    state: dict[str, Any] = model.state_dict()
    shapes = {name: tuple(x.shape) for name, x in state.items() if isinstance(x, Tensor)}
    one = None if example is None else [leaf.shape[1:] for leaf in leaves_of(example)]
    digest.update(repr((shapes, one)).encode())
    for module in model.modules() if with_code else ():
        code = getattr(type(module).forward, "__code__", None)
        digest.update(code.co_code + repr(code.co_names).encode() if code else b"")
    return digest.hexdigest()[:24]
