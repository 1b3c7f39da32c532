"""What this onnxruntime really runs, found out with models of one or two nodes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autocomp.errors import ModelError
from autocomp.exporters.integers import Stored, blocks
from autocomp.runtime import open_session, probe_model, run


@cache
def runs_integers(bits: int, opset: int) -> bool:
    """Says whether onnxruntime really runs DequantizeLinear of `bits` bits: a probe of one node."""
    from onnx import TensorProto, helper

    values = np.array([[-1, 0], [0, -1]], np.int64)
    scale = np.array([1.0, 2.0], np.float32)
    tensor = Stored(bits, values, None, scale, 0).proto("codes", values)
    node = helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"], axis=0)
    return _probe([node, helper.make_node("MatMul", ["input", "w"], ["logits"])],
                  [tensor, helper.make_tensor("scale", TensorProto.FLOAT, [2], scale)],
                  opset, np.array([[-1.0, -2.0]], np.float32))  # fmt: skip


@cache
def multiplies_bits(bits: int, opset: int) -> bool:
    """Says whether onnxruntime really runs MatMulNBits of `bits` bits, likewise."""
    from onnx import helper, numpy_helper

    values = np.array([[-1, 0], [0, -1]], np.int64)
    size, weights, scales, _ = blocks(Stored(bits, values, None, np.array([1, 2], np.float32), 0))
    node = helper.make_node(
        "MatMulNBits", ["input", "codes", "scale"], ["logits"], domain="com.microsoft", N=2, K=2,
        bits=bits, block_size=size, accuracy_level=0,
    )  # fmt: skip
    constants = [
        numpy_helper.from_array(weights.copy(), "codes"), numpy_helper.from_array(scales, "scale")
    ]  # fmt: skip
    return _probe([node], constants, opset, np.array([[-1.0, -2.0]], np.float32))


def _probe(
    nodes: list[Any], constants: list[Any], opset: int, expected: npt.NDArray[np.float32]
) -> bool:
    """Runs nodes on the input (1, 1) and compares."""
    try:
        found = run(open_session(probe_model(nodes, constants, opset)), torch.ones(1, 2)).numpy()
    except ModelError:
        return False
    return bool(np.array_equal(found, expected))
