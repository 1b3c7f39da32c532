"""An ONNX file with a single layer, as a quantized or floating network would hold it."""

from __future__ import annotations

from typing import Any

import numpy as np

from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.precision import INT4_WEIGHTS, INT8, INT8_WEIGHTS, Precision
from autocomp.runtime import assembled, library, serialized

_INPUT_SCALE, _WEIGHT_SCALE, _OUTPUT_SCALE = 0.03, 0.02, 0.5


def layer_model(geometry: Geometry, precision: Precision) -> bytes:
    """Returns a model from one floating input "x" to one output "y".

    Float32 is the plain operator. Int8 rounds its input, and has (de)quantizers around weight,
    bias, input and output, which onnxruntime fuses into QLinearConv or QGemm; rounding the input is
    part of the time, turning the output back is not, as in a network of such layers. Weights of 8
    or 4 bits with floating inputs pass a DequantizeLinear, which the session takes out once. The
    weights are noise.

    Args:
        geometry: the layer.
        precision: one of `PRECISIONS`.

    Raises:
        ModelError: if onnx is missing.
    """
    library("onnx")
    return _Builder(geometry, precision).build()


def input_of(geometry: Geometry) -> np.ndarray[Any, Any]:
    """Returns the float32 input of a model, standard normal and always the same."""
    noise = np.random.default_rng(0).standard_normal(_input_shape(geometry))
    return noise.astype(np.float32)


class _Builder:
    """Collects nodes and initializers."""

    def __init__(self, geometry: Geometry, precision: Precision) -> None:
        self._geometry, self._precision = geometry, precision
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._linear = geometry.kind == "linear"

    def build(self) -> bytes:
        from onnx import TensorProto, helper

        quantized = self._precision == INT8
        given = self._rounded("x", _INPUT_SCALE) if quantized else "x"
        weight = self._weight()
        self._operator(given, weight, "floating" if quantized else "y")
        if quantized:
            self._add("QuantizeLinear", ["floating", *self._grid("out", _OUTPUT_SCALE)], "y")
        kind = TensorProto.UINT8 if quantized else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, _input_shape(self._geometry))],
            [helper.make_tensor_value_info("y", kind, None)],
            self._tensors,
        )
        return serialized(assembled(graph))

    def _operator(self, given: str, weight: str, output: str) -> None:
        geometry = self._geometry
        if self._linear:
            self._add("MatMul", [given, weight], "product" if geometry.bias else output)
            if geometry.bias:
                self._add("Add", ["product", self._bias()], output)
            return
        inputs = [given, weight, *([self._bias()] if geometry.bias else [])]
        attributes: dict[str, Any] = {
            "kernel_shape": geometry.kernel,
            "strides": geometry.stride,
            "dilations": geometry.dilation,
            "pads": geometry.padding,
            "group": geometry.groups,
        }
        if geometry.kind == "transposed":
            attributes["output_padding"] = geometry.output_padding
        operator = "ConvTranspose" if geometry.kind == "transposed" else "Conv"
        self._add(operator, inputs, output, **attributes)

    @property
    def _axis(self) -> int:
        """The axis of the weight that counts outputs."""
        return 0 if self._geometry.kind == "conv" else 1

    def _weight(self) -> str:
        from onnx import TensorProto, helper

        g = self._geometry
        inputs = g.inputs // (g.groups if g.kind == "conv" else 1)
        outputs = g.outputs // (g.groups if g.kind == "transposed" else 1)
        pair = (outputs, inputs) if self._axis == 0 else (inputs, outputs)
        shape = (*pair, *g.kernel)
        rng = np.random.default_rng(1)
        if self._precision not in (INT8, INT8_WEIGHTS, INT4_WEIGHTS):
            noise = rng.standard_normal(shape) * _WEIGHT_SCALE
            return self._tensor("weight", noise.astype(np.float32))
        scales = self._tensor("weight scale", np.full(outputs, _WEIGHT_SCALE, np.float32))
        if self._precision == INT4_WEIGHTS:
            pairs = rng.integers(0, 256, -(-int(np.prod(shape)) // 2), np.uint8)
            packed = helper.make_tensor(
                "weight codes", TensorProto.INT4, shape, pairs.tobytes(), raw=True
            )
            self._tensors.append(packed)
        else:
            self._tensor("weight codes", rng.integers(-127, 128, shape, np.int8))
        zero = self._zeros(outputs)
        self._add("DequantizeLinear", ["weight codes", scales, *zero], "weight", axis=self._axis)
        return "weight"

    def _zeros(self, outputs: int) -> list[str]:
        """Names the weight's zero points; QGemm is not made without them."""
        if self._precision == INT4_WEIGHTS:
            return []
        return [self._tensor("weight zero", np.zeros(outputs, np.int8))]

    def _bias(self) -> str:
        outputs = self._geometry.outputs
        if self._precision != INT8:
            return self._tensor("bias", np.zeros(outputs, np.float32))
        codes = self._tensor("bias codes", np.zeros(outputs, np.int32))
        scale = np.full(outputs, np.float32(_INPUT_SCALE) * np.float32(_WEIGHT_SCALE), np.float32)
        scales = self._tensor("bias scale", scale)
        self._add("DequantizeLinear", [codes, scales], "bias", axis=0)
        return "bias"

    def _rounded(self, name: str, scale: float) -> str:
        grid = self._grid(name, scale)
        self._add("QuantizeLinear", [name, *grid], f"{name} codes")
        self._add("DequantizeLinear", [f"{name} codes", *grid], f"{name} rounded")
        return f"{name} rounded"

    def _grid(self, name: str, scale: float) -> list[str]:
        names = [f"{name} scale", f"{name} zero"]
        if not any(tensor.name == names[0] for tensor in self._tensors):
            self._tensor(names[0], np.array(scale, np.float32))
            self._tensor(names[1], np.array(128, np.uint8))
        return names

    def _tensor(self, name: str, values: np.ndarray[Any, Any]) -> str:
        from onnx import numpy_helper

        self._tensors.append(numpy_helper.from_array(values, name))
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))


def _input_shape(geometry: Geometry) -> tuple[int, ...]:
    if geometry.kind == "linear":
        return (geometry.batch * geometry.spatial[0], geometry.inputs)
    return (geometry.batch, geometry.inputs, *geometry.spatial)
