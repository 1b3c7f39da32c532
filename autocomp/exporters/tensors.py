"""A weight as integers and what multiplies them out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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


def add_bytes(graph: Graph, name: str, stored: Stored) -> list[str]:
    """Adds the codes as int8 or uint8, scale and zero point; returns their names.

    Narrower ones are stored as they are and widened by Casts, which a runtime does once.
    """
    if stored.bits == 8:
        return add_tensors(graph, name, stored)
    shape = () if stored.axis is None else (-1,)
    scale = graph.add_constant(f"{name}.scale", stored.scale.reshape(shape))
    return [widened(graph, name, stored), scale]


def widened(
    graph: Graph, name: str, stored: Stored, factors: npt.NDArray[np.int64] | None = None
) -> str:
    """Adds narrow codes and what makes int8 of them; returns the name of that.

    Args:
        graph: the graph, changed in place.
        name: the weight.
        stored: its codes.
        factors: whole numbers that multiply them, broadcast over the weight.
    """
    from onnx import TensorProto

    value = graph.add_tensor(stored.proto(f"{name}.codes", stored.values))
    steps = [] if stored.zero is None else [("Sub", "zero", stored.along_axis(stored.zero))]
    if factors is not None:
        steps.append(("Mul", "factor", factors))
    nodes = []
    if steps:
        wide = graph.fresh(f"{name}.int32")
        nodes.append(graph.node("Cast", [value], wide, to=TensorProto.INT32))
        value = wide
    for operator, suffix, numbers in steps:
        operand = graph.add_constant(f"{name}.{suffix}", numbers.astype(np.int32))
        result = graph.fresh(f"{name}.{operator.lower()}")
        nodes.append(graph.node(operator, [value, operand], result))
        value = result
    output = graph.fresh(f"{name}.int8")
    graph.prepend([*nodes, graph.node("Cast", [value], output, to=TensorProto.INT8)])
    return output


def dequantized(graph: Graph, name: str, stored: Stored) -> str:
    """Adds what makes the weight of its codes; returns that weight's name.

    Cast, Sub and Mul, which every runtime does once, when it loads the file. A DequantizeLinear
    says the same, but onnxruntime's default repeats it for every batch: in a session of a user's
    own a matrix of 1024 by 1024 and 8 bits took 2.3 times as long, of 4 bits 7 times.
    """
    output = graph.fresh(f"{name}.dequantized")
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
