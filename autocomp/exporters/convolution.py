"""Convolutions of 8-bit inputs and weights, in the form that runtimes make one operator of."""

from __future__ import annotations

from typing import Any

import numpy as np

from autocomp.exporters.fold import bias_of, quantizer_behind
from autocomp.exporters.graph import Graph
from autocomp.exporters.inputs import IntegerInputs
from autocomp.exporters.integers import Codes, Floats, Stored
from autocomp.exporters.tensors import widened


def runs_whole(graph: Graph, use: Any, name: str, codes: Codes) -> bool:
    """Whether the runtime makes a convolution one integer operator."""
    return (
        use.op_type == "Conv"
        and use.input[1] == name
        and codes.axis in (None, 0)
        and bool(codes.values.min() >= -128 and codes.values.max() <= 127)
        and IntegerInputs.of(graph, use.input[0]) is not None
        and bias_of(graph, use, codes.values.shape[0]) is not None
        and quantizer_behind(graph, use.output[0]) is not None
    )


def as_int8(graph: Graph, name: str, stored: Stored) -> tuple[str, Floats]:
    """Adds the codes as int8, times whole factors that make use of it; returns name and factors.

    The factors, one a channel, change nothing but the unit in which the runtime rounds biases,
    which would be coarse for narrow codes. They keep codes within 63, so that sums of two products
    with a byte fit 16 bits, as processors without VNNI add them.
    """
    channels = stored.values.shape[0]
    codes = stored.values.reshape(channels, -1)
    if stored.zero is not None:
        codes = codes - np.broadcast_to(stored.zero, (channels,))[:, None]
    factors = np.maximum(63 // np.maximum(np.abs(codes).max(1), 1), 1)
    if stored.type_name == "int8":
        tensor = stored.proto(f"{name}.codes", stored.values)
        return graph.add_tensor(tensor), np.ones(channels, np.float32)
    shape = (-1, *[1] * (stored.values.ndim - 1))
    return widened(graph, name, stored, factors.reshape(shape)), factors.astype(np.float32)


def write_convolution(graph: Graph, name: str, scales: Floats, whole: str, use: Any) -> None:
    """Writes a convolution of 8-bit inputs and weights whose outputs are quantized."""
    inputs = IntegerInputs.of(graph, use.input[0])
    bias = bias_of(graph, use, len(scales))
    assert inputs is not None and bias is not None
    scale = graph.add_constant(f"{name}.scale", scales)
    output = graph.fresh(f"{name}.dequantized")
    nodes = [graph.node("DequantizeLinear", [whole, scale], output, axis=0)]
    use.input[1] = output
    del use.input[2:]
    if np.any(bias):
        # the runtime adds biases as integers, in units of (input step * weight scale)
        unit = scales * np.float32(inputs.step(graph))
        limit = 2**31 - 128
        rounded = np.clip(np.rint(bias / unit.astype(np.float64)), -limit, limit)
        integers = graph.add_constant(f"{name}.bias.codes", rounded.astype(np.int32))
        units = graph.add_constant(f"{name}.bias.scale", unit.astype(np.float32))
        value = graph.fresh(f"{name}.bias.dequantized")
        nodes.append(graph.node("DequantizeLinear", [integers, units], value, axis=0))
        use.input.append(value)
    graph.insert(use, nodes)
