"""Integer inputs of a layer in an ONNX graph, and keeping them from other layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autocomp.exporters.graph import Graph

MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""Operators that only move values."""
_MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class IntegerInputs:
    """Integer inputs of a layer.

    Attributes:
        source: the DequantizeLinear that they come from.
        moves: what moves the values afterwards, first to last.
    """

    source: Any
    moves: tuple[Any, ...]

    @classmethod
    def of(cls, graph: Graph, value: str) -> IntegerInputs | None:
        """Returns the uint8 inputs that `value` comes from, else None."""
        node = graph.producer(value)
        moves: list[Any] = []
        while node is not None and node.op_type in MOVES:
            moves.insert(0, node)
            node = graph.producer(node.input[0])
        if node is None or node.op_type != "DequantizeLinear" or len(node.input) < 3:
            return None
        zero = graph.constant(node.input[2])
        if zero is None or zero.dtype != np.uint8 or zero.ndim:
            return None
        return cls(node, tuple(moves))

    def step(self, graph: Graph) -> float:
        """Returns the distance of two levels."""
        return float(np.asarray(graph.constant(self.source.input[1])))

    def scale(self) -> str:
        """Returns the name of that distance."""
        name: str = self.source.input[1]
        return name

    def zero(self) -> str:
        """Returns the name of the zero point."""
        name: str = self.source.input[2]
        return name

    def value(self, graph: Graph, before: Any) -> str:
        """Returns the integers' name, after moving them as the numbers are moved."""
        from onnx import helper

        name: str = self.source.input[0]
        for move in self.moves:
            output = graph.fresh(f"{move.output[0]}.integers")
            node = graph.node(move.op_type, [name, *list(move.input)[1:]], output)
            for found in move.attribute:
                node.attribute.append(
                    helper.make_attribute(found.name, helper.get_attribute_value(found))
                )
            graph.insert(before, [node])
            name = output
        return name


def protect_floats(graph: Graph) -> None:
    """Keeps the runtime from quantizing layers that are to run in float32.

    Between DequantizeLinear and QuantizeLinear onnxruntime quantizes floating-point weights of its
    own accord, to one scale a tensor. Inputs that reach such a layer are therefore multiplied out
    by Cast, Sub and Mul: the same numbers.
    """
    from onnx import TensorProto

    for source in [n for n in graph.model.graph.node if n.op_type == "DequantizeLinear"]:
        if graph.constant(source.input[0]) is not None or not _feeds_floats(graph, source):
            continue
        value, out = source.input[0], source.output[0]
        step, zero = graph.constant(source.input[1]), graph.constant(source.input[2])
        if step is None or zero is None or graph.producer(value) is None:
            continue
        floats = graph.fresh(f"{out}.floats")
        nodes = [graph.node("Cast", [value], floats, to=TensorProto.FLOAT)]
        if np.any(zero):
            offset = graph.add_constant(f"{out}.zero", zero.astype(np.float32))
            moved = graph.fresh(f"{out}.moved")
            nodes.append(graph.node("Sub", [floats, offset], moved))
            floats = moved
        factor = graph.add_constant(f"{out}.step", step)
        graph.replace(source, [*nodes, graph.node("Mul", [floats, factor], out)])


def _feeds_floats(graph: Graph, node: Any) -> bool:
    """Whether a value reaches a Conv, Gemm or MatMul whose weight is not integers."""
    for use in graph.users(node.output[0]):
        if use.op_type in MOVES:
            if _feeds_floats(graph, use):
                return True
        elif use.op_type in _MULTIPLY and len(use.input) > 1:
            weight = graph.producer(use.input[1])
            if weight is None or weight.op_type != "DequantizeLinear":
                return True
    return False
