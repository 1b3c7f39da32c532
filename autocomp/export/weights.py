"""Writing a quantized weight into an ONNX graph: the fastest form that is exact.

- `MatMulNBits`: a matrix of 2, 4 or 8 bits that the runtime multiplies without unpacking it.
- QDQ: inputs and weights of 8 bits between QuantizeLinear and DequantizeLinear, which the runtime
  makes one integer operator of (Jacob et al. 2018, arXiv:1712.05877). Narrower codes are stored as
  they are and widened to int8 by a Cast, which the runtime does once, when it loads the file.
- MatMulInteger for a matrix with 8-bit inputs: exact sums of integers, multiplied out.
- DequantizeLinear before a layer that runs in float32: smaller, not faster. A runtime that looks
  for QDQ repeats it for every batch, so beside quantized inputs Cast and Mul take its place, which
  the runtime does once.

ConvInteger is not used: onnxruntime's takes ten times as long as its QLinearConv (274 against 15
microseconds in ResNet-20), so a convolution whose outputs are not quantized runs in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autocomp.export.fold import bias_of, fold_norm, quantizer_behind
from autocomp.export.graph import Graph, attribute
from autocomp.export.integers import Codes, Floats, Stored, blocks, store

_MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
CONTRIB = "com.microsoft"
"""The operator set that MatMulNBits belongs to."""


@dataclass(frozen=True)
class Widths:
    """Which integer types may be used; what a runtime lacks is taken out.

    Attributes:
        dequantize: least bits of a weight behind DequantizeLinear.
        matmul: bits that MatMulNBits can have.
    """

    dequantize: int = 2
    matmul: tuple[int, ...] = (2, 4, 8)


def write_weight(graph: Graph, name: str, codes: Codes, widths: Widths) -> str | None:
    """Replaces the graph's input `name` by an integer weight.

    Args:
        graph: the graph, changed in place.
        name: the input that stands for the weight.
        codes: the weight.
        widths: which types may be used.

    Returns:
        How it is stored ("int4"); None if no integer type holds it: nothing was changed.
    """
    if store(codes, widths.dequantize) is None:
        return None
    graph.remove_input(name)
    uses = graph.users(name)
    if len(uses) == 1 and _is_layer(uses[0], name):
        codes = fold_norm(graph, uses[0], codes, 0)
    stored = store(codes, widths.dequantize)
    assert stored is not None  # folding changes signs at most, and every type has both
    linear = [_Linear.of(graph, use, name) for use in uses]
    if uses and all(x is not None for x in linear):
        return _write_linear(graph, name, codes, [x for x in linear if x is not None], widths)
    if uses and all(_runs_whole(graph, use, name, codes) for use in uses):
        whole, factors = _as_int8(graph, name, stored)
        scales = (codes.per_channel(0).scale / factors).astype(np.float32)
        for use in uses:
            _write_convolution(graph, name, scales, whole, use)
        return f"{stored.type_name} QDQ"
    graph.redirect(name, _dequantized(graph, name, stored))
    return _plain_name(stored)


def _runs_whole(graph: Graph, use: Any, name: str, codes: Codes) -> bool:
    """Whether the runtime makes a convolution one integer operator."""
    return (
        use.op_type == "Conv"
        and use.input[1] == name
        and codes.axis in (None, 0)
        and bool(codes.values.min() >= -128 and codes.values.max() <= 127)
        and _Integers.of(graph, use.input[0]) is not None
        and bias_of(graph, use, codes.values.shape[0]) is not None
        and quantizer_behind(graph, use.output[0]) is not None
    )


def _is_layer(node: Any, name: str) -> bool:
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
class _Integers:
    """Integer inputs of a layer.

    Attributes:
        source: the DequantizeLinear that they come from.
        moves: what moves the values afterwards, first to last.
    """

    source: Any
    moves: tuple[Any, ...]

    @classmethod
    def of(cls, graph: Graph, value: str) -> _Integers | None:
        """Returns the uint8 inputs that `value` comes from, else None."""
        node, moves = graph.producer(value), []
        while node is not None and node.op_type in _MOVES:
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


def _tensors(graph: Graph, name: str, stored: Stored) -> list[str]:
    """Adds codes, scale and zero point; returns their names."""
    names = [graph.add_tensor(stored.proto(f"{name}.codes", stored.values))]
    shape = () if stored.axis is None else (-1,)
    names.append(graph.add_constant(f"{name}.scale", stored.scale.reshape(shape)))
    if stored.zero is not None:
        names.append(graph.add_tensor(stored.proto(f"{name}.zero", stored.zero.reshape(shape))))
    return names


def _dequantized(graph: Graph, name: str, stored: Stored) -> str:
    """Adds what makes the weight of its codes; returns that weight's name."""
    output = graph.fresh(f"{name}.dequantized")
    if not graph.quantizes:
        axis = {} if stored.axis is None else {"axis": stored.axis}
        tensors = _tensors(graph, name, stored)
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


def _as_int8(graph: Graph, name: str, stored: Stored) -> tuple[str, Floats]:
    """Adds the codes as int8, times whole factors that make use of it; returns name and factors.

    The factors, one a channel, change nothing but the unit in which the runtime rounds biases,
    which would be coarse for narrow codes. They keep codes within 63, so that sums of two products
    with a byte fit 16 bits, as processors without VNNI add them.
    """
    tensor = stored.proto(f"{name}.codes", stored.values)
    channels = stored.values.shape[0]
    codes = stored.values.reshape(channels, -1)
    if stored.zero is not None:
        codes = codes - np.broadcast_to(stored.zero, (channels,))[:, None]
    factors = np.maximum(63 // np.maximum(np.abs(codes).max(1), 1), 1)
    if stored.type_name == "int8":
        return graph.add_tensor(tensor), np.ones(channels, np.float32)
    from onnx import TensorProto

    shape = (-1, *[1] * (stored.values.ndim - 1))
    value = graph.fresh(f"{name}.int32")
    nodes = [graph.node("Cast", [graph.add_tensor(tensor)], value, to=TensorProto.INT32)]
    steps = [("Mul", "factor", factors.reshape(shape))]
    if stored.zero is not None:
        steps.insert(0, ("Sub", "zero", stored.along_axis(stored.zero)))
    for operator, suffix, numbers in steps:
        operand = graph.add_constant(f"{name}.{suffix}", numbers.astype(np.int32))
        result = graph.fresh(f"{name}.{operator.lower()}")
        nodes.append(graph.node(operator, [value, operand], result))
        value = result
    output = graph.fresh(f"{name}.int8")
    graph.prepend([*nodes, graph.node("Cast", [value], output, to=TensorProto.INT8)])
    return output, factors.astype(np.float32)


def _write_convolution(graph: Graph, name: str, scales: Floats, whole: str, use: Any) -> None:
    """Writes a convolution of 8-bit inputs and weights whose outputs are quantized."""
    inputs = _Integers.of(graph, use.input[0])
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


def _write_sums(
    graph: Graph, name: str, stored: Stored, weight: list[str], linear: _Linear, inputs: _Integers
) -> None:
    """Writes y = (input step * weight scale) * (sums of integer products) + bias.

    Args:
        graph: the graph.
        name: the weight.
        stored: its integers, (inputs, outputs).
        weight: the names of its codes, scale and zero point.
        linear: the use that is replaced.
        inputs: its integer inputs.
    """
    from onnx import TensorProto

    use = linear.node
    out = use.output[0]
    sums, floats, scaled = (graph.fresh(f"{out}.{x}") for x in ("sums", "floats", "scaled"))
    operands = [inputs.value(graph, use), weight[0], inputs.zero(), *weight[2:]]
    unit = (stored.scale.astype(np.float64) * inputs.step(graph)).astype(np.float32)
    factor = graph.add_constant(f"{name}.unit", unit)
    nodes = [
        graph.node("MatMulInteger", operands, sums),
        graph.node("Cast", [sums], floats, to=TensorProto.FLOAT),
        graph.node("Mul", [floats, factor], scaled if linear.bias else out),
    ]
    if linear.bias:
        nodes.append(graph.node("Add", [scaled, linear.bias], out))
    graph.replace(use, nodes)


@dataclass(frozen=True)
class _Linear:
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
    def of(cls, graph: Graph, use: Any, name: str) -> _Linear | None:
        if use.op_type == "Gemm" and _is_layer(use, name):
            return cls(use, None, use.input[2] if len(use.input) > 2 else "")
        if use.op_type != "Transpose" or list(attribute(use, "perm", ())) != [1, 0]:
            return None
        product = graph.only_user(use.output[0])
        if product is None or product.op_type != "MatMul" or product.input[1] != use.output[0]:
            return None
        return cls(product, use, "")


def _write_linear(
    graph: Graph, name: str, codes: Codes, uses: list[_Linear], widths: Widths
) -> str:
    narrow = store(codes)
    assert narrow is not None
    inputs = [_Integers.of(graph, x.node.input[0]) for x in uses]
    integers = [x for x in inputs if x is not None]
    if narrow.bits == 8 and len(integers) == len(uses) and codes.axis in (None, 0):
        stored = store(codes.transposed(), 8)
        assert stored is not None
        weight = _tensors(graph, name, stored)
        for use, given in zip(uses, integers, strict=True):
            _write_sums(graph, name, stored, weight, use, given)
        return f"{stored.type_name} sums"
    if narrow.bits in widths.matmul and codes.axis in (None, 0):
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
    graph.redirect(name, _dequantized(graph, name, stored))
    return _plain_name(stored)


def _plain_name(stored: Stored) -> str:
    return f"{stored.type_name} weights" if stored.bits == 8 else stored.type_name
