"""What a network costs before any search, layer by layer: the numbers a budget is chosen from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autocomp.compression.forecast import Forecast
from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.structured import Inputs
from autocomp.costs.bitops import BitOps
from autocomp.costs.latency.cost import Latency
from autocomp.costs.latency.device_table import write_device_table
from autocomp.costs.latency.table import LatencyTable
from autocomp.costs.macs import Macs
from autocomp.costs.params import Params
from autocomp.costs.size import Size
from autocomp.errors import ModelError
from autocomp.network.activation_memory import peak_activation_bytes
from autocomp.network.analysis import analyse
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode


@dataclass(frozen=True)
class LayerMeasurement:
    """One compressible layer.

    Attributes:
        name: the layer's name.
        kind: "conv", "transposed", "linear", "embedding" or "attention".
        frozen: whether the user wants it left alone.
        shape: the weight's shape.
        input_shape: one example's input at the first call, () where it was never seen.
        output_shape: its output there.
        calls: how often a forward pass uses it.
        params: weights, without biases.
        bytes: of these weights in float32.
        macs: multiply-accumulates of one example.
        bitops: 32 * 32 times that.
        activation_bytes: the first call's input and output, of one example.
        nanoseconds: estimated share of the network's time (`Latency`); None if not measured.
    """

    name: str
    kind: str
    frozen: bool
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    calls: int
    params: int
    bytes: int
    macs: int
    bitops: int
    activation_bytes: int
    nanoseconds: int | None


@dataclass(frozen=True)
class Measurement:
    """A network's costs; the totals are the references of ratio budgets.

    Attributes:
        layers: the compressible layers in forward order, frozen ones last.
        params: parameters of the whole network.
        bytes: length of its plain safetensors file.
        macs: multiply-accumulates of one example, in the layers and beside them.
        bitops: 32 * 32 times that.
        peak_activation_bytes: see `peak_activation_bytes`.
        nanoseconds: a forward pass of one example in onnxruntime; None if not measured.
        machine: what ran it; "" if not measured.
        latency_problem: why there is no time; "" if there is one.
        unmeasured: layers whose time is part of the rest of the network's.
        uncounted: operations that multiply in ways that `macs` does not count.
        tables: what a search needs before its first evaluation, about.
    """

    layers: tuple[LayerMeasurement, ...]
    params: int
    bytes: int
    macs: int
    bitops: int
    peak_activation_bytes: int
    nanoseconds: int | None
    machine: str
    latency_problem: str
    unmeasured: tuple[str, ...]
    uncounted: tuple[str, ...]
    tables: Forecast = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Returns every field; tuples become lists in JSON."""
        return asdict(self)


def measure_network(
    model: nn.Module,
    example_inputs: Inputs,
    keep: Iterable[str] = (),
    latency: bool = True,
    table: LatencyTable | None = None,
    device_table: Path | None = None,
) -> Measurement:
    """Returns what a network costs; nothing about it is changed.

    Where onnxruntime is missing or cannot run the network, the times are None and
    `latency_problem` says why.

    Args:
        model: the network.
        example_inputs: a batch `(n, ...)` that it accepts.
        keep: names of layers to leave alone.
        latency: whether to measure time.
        table: measured times, with their threads; one thread and the user's cache folder if None.
        device_table: where to write everything that a search elsewhere may ask of this machine's
            time, see `DeviceTable`; that takes minutes.

    Raises:
        LayerError: if the forward pass fails, `keep` names an unknown layer, or no layer is left.
    """
    network = analyse(model, example_inputs, keep)
    store = CompressionStore(model, network)
    macs, bitops = Macs(store), BitOps(store)
    seen = _activation_bytes(model, example_inputs, network)
    clock = Latency(store, example_inputs, table)
    problem = "" if latency else "time was not asked for"
    nanoseconds = None
    if latency:
        try:
            nanoseconds = clock.reference
            for layer in (*network.layers, *network.frozen):
                clock.of_layer(layer, NEUTRAL)
        except ModelError as error:
            problem, nanoseconds = str(error), None
    timed = nanoseconds is not None
    if device_table is not None:
        if not timed:
            raise ModelError(f"A device table needs measured times, but {problem}.")
        write_device_table(clock, device_table)

    def row(layer: LayerSpec, frozen: bool) -> LayerMeasurement:
        known = timed and layer.name not in clock.unmeasured
        return LayerMeasurement(
            layer.name, layer.kind, frozen, layer.shape, layer.input_shape, layer.output_shape,
            layer.calls, layer.n_weights, 4 * layer.n_weights, macs.of_layer(layer, NEUTRAL),
            bitops.of_layer(layer, NEUTRAL), seen.get(layer.name, 0),
            clock.of_layer(layer, NEUTRAL) if known else None,
        )  # fmt: skip

    rows = [row(layer, False) for layer in network.layers]
    rows += [row(layer, True) for layer in network.frozen]
    return Measurement(
        layers=tuple(rows),
        params=Params(store).reference,
        bytes=Size(store).reference,
        macs=macs.reference,
        bitops=bitops.reference,
        peak_activation_bytes=peak_activation_bytes(model, example_inputs),
        nanoseconds=nanoseconds,
        machine=str(clock.table.machine) if timed else "",
        latency_problem=problem,
        unmeasured=tuple(clock.unmeasured) if timed else (),
        uncounted=network.uncounted,
        tables=Forecast.of(network),
    )


def _activation_bytes(model: nn.Module, example: Inputs, network: Network) -> dict[str, int]:
    """Runs one example; returns bytes of input and output of each layer's first call."""
    found: dict[str, int] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, kwargs: dict[str, Any], output: Any) -> None:
            given = next(iter((*inputs, *kwargs.values())), None)
            first = output[0] if isinstance(output, tuple) else output
            found.setdefault(name, sum(map(_bytes, tree_leaves([given, first]))))

        return hook

    modules = dict(model.named_modules())
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer in (*network.layers, *network.frozen):
            owner = layer.owner
            parent = modules.get(owner.rpartition(".")[0])
            # an output projection is not called itself; its attention is
            module = parent if isinstance(parent, nn.MultiheadAttention) else modules[owner]
            handle = module.register_forward_hook(hook_for(layer.name), with_kwargs=True)
            stack.callback(handle.remove)
        with torch.no_grad():
            forward(model, example[:1])
    return found


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
