"""ONNX models from graphs, and their bytes."""

from __future__ import annotations

from typing import Any

from autocomp.errors import ModelError
from autocomp.plugins.imports import describe

OPSET = 21
"""The version of ONNX's operators unless told otherwise: the first with 4- and 16-bit integers."""
LONGEST = 2**31 - 2**20
"""Bytes of a model; protobuf ends at 2 GiB."""


def assembled(graph: Any, opset: int = OPSET) -> Any:
    """Returns a `ModelProto` of a graph that uses ONNX's operators and onnxruntime's."""
    from onnx import helper

    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    version = helper.find_min_ir_version_for(sets, ignore_unknown=True)
    return helper.make_model(
        graph, opset_imports=sets, ir_version=version, producer_name="autocomp"
    )


def probe_model(nodes: list[Any], constants: list[Any], opset: int = OPSET) -> bytes:
    """Returns the bytes of a model from a float32 `input` (1, 2) to `logits` (1, 2)."""
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 2])]
    made = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])]
    return serialized(assembled(helper.make_graph(nodes, "probe", given, made, constants), opset))


def serialized(model: Any) -> bytes:
    """Returns the bytes of a `ModelProto`; ModelError for more than fit into one file."""
    try:
        data: bytes = model.SerializeToString()
        found = f"this one has {len(data):,} bytes"
    except Exception as error:  # protobuf's implementations differ in what they raise
        data, found = b"", f"writing this one raised {describe(error)}"
    if not 0 < len(data) <= LONGEST:
        raise ModelError(
            f"An ONNX file must be shorter than 2 GiB, but {found}; take a smaller network."
        )
    return data
