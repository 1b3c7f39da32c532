"""A weight as integers and what multiplies them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from autocomp.exporters.graph import Graph
from autocomp.exporters.integers import Stored


def add_tensors(graph: Graph, name: str, stored: Stored) -> list[str]:
    """Adds codes, scale and zero point; returns their names."""
    names = [graph.add_tensor(stored.proto(f"{name}.codes", stored.values))]
    shape = () if stored.axis is None else (-1,)
    names.append(graph.add_constant(f"{name}.scale", stored.scale.reshape(shape)))
    if stored.zero is not None:
        names.append(graph.add_tensor(stored.proto(f"{name}.zero", stored.zero.reshape(shape))))
    return names


def dequantized(graph: Graph, name: str, stored: Stored) -> str:
    """Adds what makes the weight of its codes; returns that weight's name."""
    output = graph.fresh(f"{name}.dequantized")
    if not graph.quantizes:
        axis: dict[str, Any] = {} if stored.axis is None else {"axis": stored.axis}
        tensors = add_tensors(graph, name, stored)
        graph.prepend([graph.node("DequantizeLinear", tensors, output, **axis)])
        return output
    from onnx import TensorProto

    codes = graph.add_tensor(stored.proto(f"{name}.codes", stored.values))
    scale = graph.add_constant(f"{name}.scale", stored.along_axis(stored.scale))
    value = graph.fresh(f"{name}.floats")
    nodes = [graph.node("Cast", [codes], value, to=TensorProto.FLOAT)]
    if stored.zero is not None:
        zero = stored.along_axis(stored.zero).astype(np.float32)
        moved = graph.fresh(f"{name}.moved")
        nodes.append(graph.node("Sub", [value, graph.add_constant(f"{name}.zero", zero)], moved))
        value = moved
    graph.prepend([*nodes, graph.node("Mul", [value, scale], output)])
    return output


def plain_name(stored: Stored) -> str:
    """Returns how a weight that is multiplied out is called in reports."""
    return f"{stored.type_name} weights" if stored.bits == 8 else stored.type_name
