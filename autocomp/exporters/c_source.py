"""A graph as C: its nodes as calls, its values as places in one buffer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from autocomp.errors import ModelError
from autocomp.exporters.c_buffer import Buffer
from autocomp.exporters.c_kernels import BINARY, HEAD, KERNELS, NEEDS, UNARY
from autocomp.exporters.fold import clip_limits
from autocomp.exporters.graph import Graph, attribute
from autocomp.exporters.integers import Codes

Floats = npt.NDArray[np.float32]
_SAME = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast")
_FLOATS = (1, 10, 11, 16)
"""ONNX's numbers of float32, float16, float64 and bfloat16."""
"""Operators that leave values where they are."""
_LINE = 24
_MOST_AXES = 8


@dataclass(frozen=True)
class _Place:
    """Where a value is: `x` (the input), `y` (the output), the buffer, or a constant's name."""

    name: str
    shape: tuple[int, ...]


class CSource:
    """Writes a graph for one input as a C header.

    Args:
        graph: the graph, batch norms behind coded layers folded.
        shapes: value -> its shape, for a batch of one.
        weights: name of a weight that is codes -> the codes, its outputs first.
        name: what the functions and macros begin with; letters, digits and underscores.
    """

    def __init__(
        self, graph: Graph, shapes: dict[str, tuple[int, ...]], weights: dict[str, Codes], name: str
    ) -> None:
        self._graph, self._shapes, self._weights, self._name = graph, shapes, weights, name
        self._constants: list[str] = []
        self._calls: list[str] = []
        self._used: dict[str, None] = {}
        self._row = 1
        self._known: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._places: dict[str, _Place] = {}
        self._ends = self._last_uses()
        self._buffer = Buffer()
        self.output_shape: tuple[int, ...] = ()
        """Of one input's outputs, once `text` is made."""
        self.integers: dict[str, str] = {}
        """Weight -> how it is stored: "4 bits"."""

    def text(self) -> str:
        """Returns the header.

        Raises:
            ModelError: for an operator that has no C here, or a shape that is not known.
        """
        model = self._graph.model.graph
        inputs = [x.name for x in model.input if x.name not in self._weights]
        outputs = [x.name for x in model.output]
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"C has one input and one output, but got {len(inputs)} and {len(outputs)}; export "
                "to onnx."
            )
        (given,), (made,) = inputs, outputs
        self._places[given] = _Place("x", self._shape(given))
        for step, node in enumerate(model.node):
            self._write(node)
            for value, last in self._ends.items():
                if last == step:
                    self._buffer.give_back(value)
        end = self._places.get(made)
        if end is None or end.shape[:1] != (1,):
            raise ModelError(
                "The network's output must depend on its input, and keep its first axis, to be "
                "written as C, but does not; export to onnx."
            )
        self.output_shape = end.shape[1:]
        size = prod(end.shape)
        self._calls.append(f"memcpy(y, {end.name}, sizeof(float) * {size});")
        kernels = [k for k in KERNELS if k in self._used]
        upper = self._name.upper()
        return "\n".join([
            f"/* {self._name}: one function, {self._name}_run, one input at a time.",
            f"   Weights take {self.bytes:,} bytes, values {4 * self._buffer.length:,}. */",
            f"#ifndef {upper}_H", f"#define {upper}_H", "", self._own(HEAD),
            f"#define {upper}_INPUT {prod(self._shape(given))}",
            f"#define {upper}_OUTPUT {size}", f"#define {upper}_ROW {self._row}", "",
            *[self._own(KERNELS[k]) for k in kernels], *map(self._own, self._constants), "",
            f"static void {self._name}_run(const float *x, float *y)", "{",
            *([f"    static float m[{self._buffer.length}];"] if self._buffer.length else []),
            *[f"    {self._own(call)}" for call in self._calls], "}", "", "#endif", "",
        ])  # fmt: skip

    def _own(self, text: str) -> str:
        """Returns C with names of this network's own, so that a program may hold several."""
        text = re.sub(r"\bac_", f"{self._name}_", text)
        return text.replace("AC_ROW", f"{self._name.upper()}_ROW")

    @property
    def bytes(self) -> int:
        """Bytes of the constants: weights, scales, biases."""
        return sum(self._sizes.values())

    def _last_uses(self) -> dict[str, int]:
        """Returns each value's last use; values that are only moved live on under other names."""
        same: dict[str, str] = {}
        ends: dict[str, int] = {}
        outputs = {x.name for x in self._graph.model.graph.output}
        for step, node in enumerate(self._graph.model.graph.node):
            for name in node.input:
                ends[same.get(name, name)] = step
            if node.op_type in _SAME and node.input:
                same[node.output[0]] = same.get(node.input[0], node.input[0])
        for name in outputs:
            ends[same.get(name, name)] = -1
        return ends

    def _shape(self, value: str) -> tuple[int, ...]:
        if value not in self._shapes or any(n < 0 for n in self._shapes[value]):
            raise ModelError(
                "Every shape must be fixed for one input to write C, but that of "
                f"{value!r:.60} is not; export to onnx."
            )
        return self._shapes[value]

    def _place(self, value: str) -> str:
        """Returns C for where a value begins; constants are written down when they are used."""
        if value in self._places:
            return self._places[value].name
        array = self._graph.constant(value)
        if array is None:
            raise ModelError(
                "What a network computes of constants alone has no C here, but "
                f"{value!r:.60} is needed; export to onnx."
            )
        return self._floats(np.asarray(array, np.float32), value)

    def _floats(self, array: Floats, key: str) -> str:
        if key in self._known:
            return self._known[key]
        if not np.isfinite(array).all():
            raise ModelError("Constants in C must be finite numbers, but some are not.")
        name = f"ac_k{len(self._known)}"
        numbers = [f"{float(v):.9g}" for v in array.reshape(-1)]
        texts = [(n if any(c in n for c in ".en") else f"{n}.0") + "f" for n in numbers]
        self._array("float", name, texts)
        self._sizes[name] = 4 * len(texts)
        self._known[key] = name
        return name

    def _array(self, kind: str, name: str, texts: list[str]) -> None:
        lines = [", ".join(texts[i : i + _LINE]) for i in range(0, len(texts), _LINE)]
        body = ",\n    ".join(lines) or "0"
        self._constants.append(
            f"static const {kind} {name}[{max(1, len(texts))}] = {{\n    {body}\n}};"
        )

    def _new(self, value: str) -> str:
        """Returns a place in the buffer for a value: the first gap that is long enough."""
        shape = self._shape(value)
        at = self._buffer.take(value, prod(shape))
        self._places[value] = _Place(f"m + {at}", shape)
        return f"m + {at}"

    def _call(self, kernel: str, *arguments: object) -> None:
        for needed in (*NEEDS.get(kernel, ()), kernel):
            self._used[needed] = None
        self._calls.append(f"ac_{kernel}({', '.join(map(str, arguments))});")

    def _ints(self, values: Any) -> str:
        numbers = [str(int(v)) for v in values]
        return f"(const int[]){{{', '.join(numbers)}}}"

    def _weight(self, name: str, outputs_first: bool = True) -> tuple[str, tuple[int, ...]]:
        """Writes a weight; returns C for its address, and its shape."""
        codes = self._weights.get(name)
        if codes is None:
            array = self._graph.constant(name)
            if array is None:
                raise ModelError(f"C needs a layer's weight as a constant, but {name!r} is none.")
            array = np.asarray(array, np.float32)
            array = array if outputs_first else array.T
            data = self._floats(np.ascontiguousarray(array), name)
            return self._struct(name, data, "0", 32, 0, 1, 0), array.shape
        values, scale = codes.values, codes.scale
        least = int(values.min())
        step = max(1, int(np.gcd.reduce((values - least).reshape(-1))))  # signs are -1 and 1
        bits = max(1, (int(values.max() - least) // step).bit_length())
        if name not in self._known:
            shifted = ((values.reshape(-1) - least) // step).astype(np.uint32)
            each = (shifted[:, None] >> np.arange(bits, dtype=np.uint32)) & 1
            packed = np.packbits(each.astype(np.uint8).reshape(-1), bitorder="little")
            data = f"ac_k{len(self._known)}"
            self._known[name] = data
            self._array("uint8_t", data, [str(b) for b in packed.tolist()])
            self._sizes[data] = len(packed)
            self.integers[name] = f"{bits} bits"
        data = self._known[name]
        scales = self._floats(np.asarray(scale, np.float32), f"{name} scale")
        numbers = (bits, least, step, scale.size)
        return self._struct(name, data, scales, *numbers), values.shape

    def _struct(
        self, name: str, data: str, scales: str, bits: int, least: int, step: int, count: int
    ) -> str:
        key = f"{name} struct"
        if key not in self._known:
            made = f"ac_k{len(self._known)}"
            self._known[key] = made
            self._constants.append(
                f"static const ac_weight {made} = "
                f"{{{data}, {scales}, {bits}, {least}, {step}, {count}}};"
            )
        return f"&{self._known[key]}"

    def _write(self, node: Any) -> None:
        kind = node.op_type
        made = node.output[0]
        if self._graph.constant(made) is not None or not self._is_float(node):
            return
        if kind == "Cast" and attribute(node, "to") not in _FLOATS:
            raise ModelError("C has values of floats alone, but got a Cast to others; use onnx.")
        if kind in _SAME:
            place = self._place(node.input[0])
            self._places[made] = _Place(place, self._shape(made))
            return
        method = getattr(self, f"_{kind.lower()}", None)
        if kind in BINARY:
            self._binary(node)
        elif kind in _SIMPLE:
            self._unary(node, UNARY[kind], *_SIMPLE[kind](node))
        elif method is not None:
            method(node)
        else:
            raise ModelError(
                f"Every operator must have a kernel in C, but {kind} has none here; export to onnx."
            )

    def _is_float(self, node: Any) -> bool:
        """Whether a node computes values, and no shapes of others."""
        return any(x in self._places for x in node.input)

    def _unary(self, node: Any, kind: int, p: float = 0, q: float = 0, r: float = 0) -> None:
        source, made = self._place(node.input[0]), self._new(node.output[0])
        numbers = (_number(v) for v in (p, q, r))
        self._call("unary", source, made, prod(self._shape(node.output[0])), kind, *numbers)

    def _binary(self, node: Any) -> None:
        first, second = node.input[:2]
        shape = self._shape(node.output[0])
        if len(shape) > _MOST_AXES:
            raise ModelError(f"C has values of {_MOST_AXES} axes at most, but got {len(shape)}.")
        strides = [self._ints(_strides(self._shape_of(x), shape)) for x in (first, second)]
        places = [self._place(x) for x in (first, second)]
        self._call(
            "binary", *places, self._new(node.output[0]), len(shape), self._ints(shape), *strides,
            BINARY[node.op_type],
        )  # fmt: skip

    def _shape_of(self, value: str) -> tuple[int, ...]:
        array = None if value in self._places else self._graph.constant(value)
        return self._shape(value) if array is None else tuple(array.shape)

    def _neg(self, node: Any) -> None:
        self._unary(node, UNARY["dequantize"], -1.0)

    def _relu(self, node: Any) -> None:
        self._unary(node, UNARY["clip"], 0.0, np.inf)

    def _gelu(self, node: Any) -> None:
        rough = attribute(node, "approximate", b"none") in (b"tanh", "tanh")
        self._unary(node, UNARY["gelu tanh" if rough else "gelu"])

    def _clip(self, node: Any) -> None:
        self._unary(node, UNARY["clip"], *clip_limits(self._graph, node))

    def _scalar(self, value: str) -> float:
        array = self._graph.constant(value)
        if array is None or array.size != 1:
            raise ModelError("C rounds with one step a tensor, but got several.")
        return float(array.reshape(-1)[0])

    def _quantizelinear(self, node: Any) -> None:
        zero = self._graph.constant(node.input[2])
        top = np.iinfo(zero.dtype).max if zero is not None else 255
        step, offset = self._scalar(node.input[1]), self._scalar(node.input[2])
        self._unary(node, UNARY["quantize"], step, offset, float(top))

    def _dequantizelinear(self, node: Any) -> None:
        step, offset = self._scalar(node.input[1]), self._scalar(node.input[2])
        self._unary(node, UNARY["dequantize"], step, offset)

    def _bitshift(self, node: Any) -> None:
        by = 2.0 ** self._scalar(node.input[1])
        self._unary(node, UNARY["dequantize"], by, 0.0)

    def _batchnormalization(self, node: Any) -> None:
        parts = [self._graph.constant(x) for x in node.input[1:5]]
        gamma, beta, mean, var = (np.asarray(x, np.float64) for x in parts)
        gain = gamma / np.sqrt(var + attribute(node, "epsilon", 1e-5))
        shape = self._shape(node.output[0])
        wide = (-1, *[1] * (len(shape) - 2))
        strides = self._ints(_strides((1, len(gain), *wide[1:]), shape))
        own = self._ints(_strides(shape, shape))
        key = node.output[0]
        rows = [gain, beta - gain * mean]
        places = [self._floats(x.astype(np.float32), f"{key} {i}") for i, x in enumerate(rows)]
        source, made = self._place(node.input[0]), self._new(key)
        for kind, row, place in (("Mul", places[0], source), ("Add", places[1], made)):
            self._call(
                "binary", place, row, made, len(shape), self._ints(shape), own, strides,
                BINARY[kind],
            )  # fmt: skip

    def _conv(self, node: Any) -> None:
        weight, shape = self._weight(node.input[1])
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        if len(shape) > 4:
            raise ModelError("C has convolutions of one and two dimensions; export to onnx.")

        def two(values: Any, fill: int) -> list[int]:
            found = list(values)
            return [fill] * (2 - len(found)) + found

        axes = len(shape) - 2
        pads = attribute(node, "pads", [0] * 2 * axes)[:axes]
        if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET"):
            raise ModelError("C has convolutions with explicit pads; export to onnx.")
        geometry = [
            ins[1], *two(ins[2:], 1), shape[0], *two(shape[2:], 1),
            *two(attribute(node, "strides", [1] * axes), 1), *two(pads, 0),
            *two(attribute(node, "dilations", [1] * axes), 1), attribute(node, "group", 1),
            *two(outs[2:], 1),
        ]  # fmt: skip
        self._row = max(self._row, prod(shape[1:]))
        source, bias = self._place(node.input[0]), self._bias(node, shape[0])
        self._call("conv", source, self._new(node.output[0]), weight, bias, self._ints(geometry))

    def _bias(self, node: Any, outputs: int, axes: int = 1) -> str:
        """Returns C for a bias of so many numbers on the last axes; one number stands for all."""
        if len(node.input) < 3 or not node.input[2]:
            return "0"
        name = node.input[2]
        shape = self._shape_of(name)
        if prod(shape) == outputs == prod(shape[-axes:]):
            return self._place(name)
        array = None if name in self._places else self._graph.constant(name)
        if array is None or array.size != 1:
            raise ModelError(f"C has biases of {outputs} numbers here, but got {shape}; use onnx.")
        return self._floats(np.full(outputs, array.reshape(-1)[0], np.float32), f"{name} spread")

    def _gemm(self, node: Any) -> None:
        plain = attribute(node, "transB", 0) and not attribute(node, "transA", 0)
        if not plain or attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
            raise ModelError("C has matrices as x W^T + b alone; export to onnx.")
        self._linear(node, node.input[1], node)

    def _linear(self, node: Any, weight: str, biased: Any | None) -> None:
        struct, (outs, ins) = self._weight(weight)
        bias = "0" if biased is None else self._bias(biased, outs)
        rows = prod(self._shape(node.output[0])) // outs
        self._row = max(self._row, ins)
        source = self._place(node.input[0])
        self._call("linear", source, self._new(node.output[0]), struct, bias, rows, ins, outs)

    def _matmul(self, node: Any) -> None:
        second = node.input[1]
        turned = self._graph.producer(second)
        if turned is not None and turned.op_type == "Transpose":
            name = turned.input[0]
            if name in self._weights or self._graph.constant(name) is not None:
                self._linear(node, name, None)
                return
        a, b = (self._shape_of(x) for x in node.input[:2])
        if len(a) < 2 or len(b) < 2 or (len(b) > 2 and a[:-2] != b[:-2]):
            raise ModelError("C multiplies matrices of equal batches; export to onnx.")
        batch, (m, k), n = prod(a[:-2]), a[-2:], b[-1]
        places = [self._place(x) for x in node.input[:2]]
        self._call("matmul", *places, self._new(node.output[0]), batch, m, k, n, int(len(b) == 2))

    def _transpose(self, node: Any) -> None:
        if node.input[0] in self._weights or node.input[0] not in self._places:
            return  # of a weight: written by the product that reads it
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        order = attribute(node, "perm", list(reversed(range(len(ins)))))
        own = _strides(ins, ins)
        self._copy(node, outs, [own[axis] for axis in order], _strides(outs, outs))

    def _copy(
        self, node: Any, dims: Any, source: Any, target: Any, first: int = 0, to: int = 0,
        place: str = "", value: str = "",
    ) -> None:  # fmt: skip
        """Copies a block of the input into one of the output."""
        if len(dims) > _MOST_AXES:
            raise ModelError(f"C has values of {_MOST_AXES} axes at most, but got {len(dims)}.")
        given = self._place(value or node.input[0])
        made = place or self._new(node.output[0])
        self._call(
            "copy", f"{given} + {first}", f"{made} + {to}", len(dims), self._ints(dims),
            self._ints(source), self._ints(target),
        )  # fmt: skip

    def _slice(self, node: Any) -> None:
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        parts = [self._graph.constant(x) if x else None for x in node.input[1:]]
        parts += [None] * (4 - len(parts))
        if parts[0] is None:
            raise ModelError("C has slices at fixed places; export to onnx.")
        starts = parts[0].reshape(-1).tolist()
        axes = list(range(len(starts))) if parts[2] is None else parts[2].reshape(-1).tolist()
        steps = [1] * len(starts) if parts[3] is None else parts[3].reshape(-1).tolist()
        strides, first = list(_strides(ins, ins)), 0
        own = list(strides)
        for start, axis, step in zip(starts, axes, steps, strict=True):
            at = start + ins[axis] if start < 0 else start
            at = min(max(at, 0), ins[axis] - (1 if step < 0 else 0))
            first += at * own[axis]
            strides[axis] = own[axis] * step
        self._copy(node, outs, strides, _strides(outs, outs), first)

    def _gather(self, node: Any) -> None:
        index = self._graph.constant(node.input[1])
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        if index is None or index.size != 1:
            raise ModelError("C picks single places out of values; export to onnx.")
        axis = attribute(node, "axis", 0) % len(ins)
        own = _strides(ins, ins)
        at = int(index.reshape(-1)[0]) % ins[axis]
        dims = [1 if i == axis else n for i, n in enumerate(ins)]
        assert prod(dims) == prod(outs)
        self._copy(node, dims, own, _strides(dims, dims), at * own[axis])

    def _split(self, node: Any) -> None:
        ins = self._shape(node.input[0])
        axis, own, first = attribute(node, "axis", 0) % len(ins), _strides(ins, ins), 0
        for made in node.output:
            outs = self._shape(made)
            place = self._new(made)
            self._copy(node, outs, own, _strides(outs, outs), first, place=place)
            first += outs[axis] * own[axis]

    def _concat(self, node: Any) -> None:
        outs = self._shape(node.output[0])
        axis, strides, to = attribute(node, "axis", 0) % len(outs), _strides(outs, outs), 0
        place = self._new(node.output[0])
        for value in node.input:
            ins = self._shape_of(value)
            self._copy(node, ins, _strides(ins, ins), strides, to=to, place=place, value=value)
            to += ins[axis] * strides[axis]

    def _expand(self, node: Any) -> None:
        ins, outs = self._shape_of(node.input[0]), self._shape(node.output[0])
        self._copy(node, outs, _strides(ins, outs), _strides(outs, outs))

    def _pad(self, node: Any) -> None:
        mode = attribute(node, "mode", b"constant")
        pads = self._graph.constant(node.input[1])
        if mode not in (b"constant", "constant") or pads is None or (pads < 0).any():
            raise ModelError("C pads with a constant at fixed places; export to onnx.")
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        given = node.input[3] if len(node.input) > 3 else ""
        axes = self._graph.constant(given) if given else None
        places = list(range(len(ins))) if axes is None else axes.reshape(-1).tolist()
        strides = _strides(outs, outs)
        starts = pads.reshape(-1).tolist()
        to = sum(s * strides[axis] for s, axis in zip(starts, places, strict=False))
        fill = self._scalar(node.input[2]) if len(node.input) > 2 and node.input[2] else 0.0
        place = self._new(node.output[0])
        self._call("fill", place, prod(outs), _number(fill))
        self._copy(node, ins, _strides(ins, ins), strides, to=to, place=place)

    def _maxpool(self, node: Any) -> None:
        self._pool(node, mean=False)

    def _averagepool(self, node: Any) -> None:
        self._pool(node, mean=True)

    def _pool(self, node: Any, mean: bool) -> None:
        ins, outs = self._shape(node.input[0]), self._shape(node.output[0])
        if len(ins) != 4:
            raise ModelError("C has poolings of two dimensions; export to onnx.")
        steps, pads = attribute(node, "strides", [1, 1]), attribute(node, "pads", [0] * 4)
        beyond = any(
            (out - 1) * step >= size + pad
            for out, step, size, pad in zip(outs[2:], steps, ins[2:], pads, strict=False)
        )  # a window that lies in the padding alone: torch leaves it out
        counted = mean and attribute(node, "count_include_pad", 0)
        if attribute(node, "ceil_mode", 0) and (beyond or counted):
            raise ModelError("C has poolings whose last window is whole; use ceil_mode=False.")
        geometry = [
            ins[0] * ins[1], *ins[2:], *attribute(node, "kernel_shape"),
            *attribute(node, "strides", [1, 1]), *attribute(node, "pads", [0] * 4)[:2], *outs[2:],
            attribute(node, "count_include_pad", 0), *attribute(node, "dilations", [1, 1]),
        ]  # fmt: skip
        source = self._place(node.input[0])
        made = self._new(node.output[0])
        self._call("pool", source, made, self._ints(geometry), int(mean))

    def _globalaveragepool(self, node: Any) -> None:
        ins = self._shape(node.input[0])
        self._mean(node, prod(ins[:2]), prod(ins[2:]))

    def _mean(self, node: Any, outer: int, inner: int) -> None:
        source = self._place(node.input[0])
        self._call("mean", source, self._new(node.output[0]), outer, inner)

    def _reducemean(self, node: Any) -> None:
        ins = self._shape(node.input[0])
        axes = self._graph.constant(node.input[1]) if len(node.input) > 1 else None
        if axes is None:
            raise ModelError("C has means over fixed axes; export to onnx.")
        wanted = sorted(int(a) % len(ins) for a in axes.reshape(-1))
        kept = [n for i, n in enumerate(ins) if i not in wanted]
        if wanted != list(range(len(ins) - len(wanted), len(ins))):
            raise ModelError("C has means over the last axes; export to onnx.")
        self._mean(node, prod(kept), prod(ins) // prod(kept))

    def _softmax(self, node: Any) -> None:
        shape = self._shape(node.output[0])
        if attribute(node, "axis", -1) % len(shape) != len(shape) - 1:
            raise ModelError("C has softmax over the last axis; export to onnx.")
        source = self._place(node.input[0])
        inner = shape[-1]
        self._call("softmax", source, self._new(node.output[0]), prod(shape) // inner, inner)

    def _layernormalization(self, node: Any) -> None:
        shape = self._shape(node.output[0])
        axis = attribute(node, "axis", -1) % len(shape)
        inner = prod(shape[axis:])
        source, gain = (self._place(x) for x in node.input[:2])
        shift = self._bias(node, inner, len(shape) - axis)
        eps = attribute(node, "epsilon", 1e-5)
        self._call(
            "norm", source, self._new(node.output[0]), gain, shift, prod(shape) // inner, inner,
            _number(eps),
        )  # fmt: skip


def _strides(shape: Any, into: Any) -> tuple[int, ...]:
    """Returns the steps of a dense tensor along the axes of `into`, 0 where it is broadcast."""
    own, step = [], 1
    for size in reversed(tuple(shape)):
        own.append(0 if size == 1 else step)
        step *= size
    return (*[0] * (len(into) - len(own)), *reversed(own))


def _number(value: float) -> str:
    if np.isposinf(value):
        return "INFINITY"
    if np.isneginf(value):
        return "-INFINITY"
    text = f"{float(value):.9g}"
    return (text if any(c in text for c in ".en") else f"{text}.0") + "f"


_SIMPLE: dict[str, Any] = {
    "Sigmoid": lambda node: (),
    "Tanh": lambda node: (),
    "Erf": lambda node: (),
    "Sqrt": lambda node: (),
    "Exp": lambda node: (),
    "HardSwish": lambda node: (),
    "LeakyRelu": lambda node: (attribute(node, "alpha", 0.01),),
    "HardSigmoid": lambda node: (attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)),
}
"""Operators of one value each, with their numbers."""
