"""Matrices of integers: MatMulNBits, and MatMulInteger for integer inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autocomp.exporters.graph import Graph, attribute
from autocomp.exporters.inputs import IntegerInputs
from autocomp.exporters.integers import Codes, blocks, store
from autocomp.exporters.tensors import add_bytes, dequantized, plain_name

CONTRIB = "com.microsoft"
"""The operator set that MatMulNBits and MatMulIntegerToFloat belong to."""
_LARGE = 1 << 19
"""Weights of a matrix from which on MatMulNBits pays, with four bits: `benchmarks/kernels.py`."""


@dataclass(frozen=True)
class Widths:
    """Which integer types may be used; what a runtime lacks is taken out.

    Attributes:
        dequantize: least bits of a weight behind DequantizeLinear.
        matmul: whether there is a MatMulNBits of four bits.
    """

    dequantize: int = 2
    matmul: bool = True


def is_layer(node: Any, name: str) -> bool:
    """Whether a node is a Conv, or x W^T + b as a Gemm, with `name` as its weight."""
    if len(node.input) < 2 or node.input[1] != name or list(node.input).count(name) != 1:
        return False
    return node.op_type == "Conv" or (node.op_type == "Gemm" and _is_plain(node))


def _is_plain(gemm: Any) -> bool:
    return (
        bool(attribute(gemm, "transB", 0))
        and not attribute(gemm, "transA", 0)
        and attribute(gemm, "alpha", 1.0) == 1.0
        and attribute(gemm, "beta", 1.0) == 1.0
    )


@dataclass(frozen=True)
class Linear:
    """A use of a matrix (outputs, inputs) as x W^T + b.

    Attributes:
        node: the Gemm or MatMul.
        transpose: the Transpose of the weight before a MatMul.
        bias: the Gemm's bias, "" without one.
    """

    node: Any
    transpose: Any | None
    bias: str

    @classmethod
    def of(cls, graph: Graph, use: Any, name: str) -> Linear | None:
        """Returns how a node uses the matrix `name`; None if it does so in another way."""
        if use.op_type == "Gemm" and is_layer(use, name):
            return cls(use, None, use.input[2] if len(use.input) > 2 else "")
        if use.op_type != "Transpose" or list(attribute(use, "perm", ())) != [1, 0]:
            return None
        product = graph.only_user(use.output[0])
        if product is None or product.op_type != "MatMul" or product.input[1] != use.output[0]:
            return None
        return cls(product, use, "")


def _write_sums(graph: Graph, weight: list[str], linear: Linear, inputs: IntegerInputs) -> None:
    """Writes y = (input step * weight scale) * (sums of integer products) + bias, in one node.

    MatMulInteger, Cast, Mul and Add say the same in four, each with the overhead of a node.

    Args:
        graph: the graph.
        weight: the names of the weight's bytes (inputs, outputs), scale and zero point.
        linear: the use that is replaced.
        inputs: its integer inputs.
    """
    use = linear.node
    zero = weight[2] if len(weight) > 2 else ""
    operands = [
        inputs.value(graph, use), weight[0], inputs.scale(), weight[1], inputs.zero(), zero,
        linear.bias,
    ]  # fmt: skip
    while not operands[-1]:
        operands.pop()
    graph.replace(use, [graph.node("MatMulIntegerToFloat", operands, use.output[0], CONTRIB)])


def write_linear(graph: Graph, name: str, codes: Codes, uses: list[Linear], widths: Widths) -> str:
    """Writes products with a matrix.

    Args:
        graph: the graph, changed in place.
        name: the value that stands for the matrix.
        codes: the matrix (outputs, inputs).
        uses: all of its uses.
        widths: which types may be used.

    Returns:
        How it is stored.
    """
    narrow = store(codes)
    assert narrow is not None
    inputs = [IntegerInputs.of(graph, x.node.input[0]) for x in uses]
    integers = [x for x in inputs if x is not None]
    if narrow.bits <= 8 and len(integers) == len(uses) and codes.axis in (None, 0):
        stored = store(codes.transposed(), widths.dequantize)
        assert stored is not None
        weight = add_bytes(graph, name, stored)
        for use, given in zip(uses, integers, strict=True):
            _write_sums(graph, weight, use, given)
        return f"{stored.type_name} MatMulInteger"
    large = codes.values.size >= _LARGE
    if widths.matmul and narrow.bits == 4 and large and codes.axis in (None, 0):
        size, weights, scales, zeros = blocks(narrow)
        operands = [
            graph.add_constant(f"{name}.codes", weights),
            graph.add_constant(f"{name}.scale", scales),
        ]
        if narrow.zero is not None:
            operands.append(graph.add_constant(f"{name}.zero", zeros))
        outputs, width = codes.values.shape
        for use in uses:
            out = use.node.output[0]
            product = graph.fresh(f"{out}.product") if use.bias else out
            first = graph.node(
                "MatMulNBits", [use.node.input[0], *operands], product, CONTRIB, N=outputs,
                K=width, bits=narrow.bits, block_size=size, accuracy_level=0,
            )  # fmt: skip
            added = [graph.node("Add", [product, use.bias], out)] if use.bias else []
            graph.replace(use.node, [first, *added])
        return f"MatMulNBits {narrow.bits}"
    stored = store(codes, widths.dequantize)
    assert stored is not None
    graph.redirect(name, dequantized(graph, name, stored))
    return plain_name(stored)
