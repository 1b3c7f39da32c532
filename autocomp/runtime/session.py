"""Loading an ONNX model with onnxruntime on the CPU, and running it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autocomp.errors import ArtifactError
from autocomp.plugins.imports import describe, optional_import

EXTRA = "onnx"
"""The extra of this package that installs the libraries."""
_QUIET = 4


def library(name: str) -> ModuleType:
    """Returns onnx, onnxruntime or onnxscript; ArtifactError that names the extra without it."""
    return optional_import(name, EXTRA, ArtifactError)


def session(model: bytes | str | Path, threads: int = 1, save: Path | None = None) -> Any:
    """Returns an `onnxruntime.InferenceSession` on the CPU.

    Where nothing but weights is quantized, they are multiplied out once, when the file is loaded;
    by default onnxruntime does that again for every batch.

    Args:
        model: the file, or its bytes.
        threads: threads of one operator.
        save: where to write the graph as the runtime has optimised it.

    Raises:
        ArtifactError: if a library is missing, or onnxruntime cannot load the file.
    """
    onnx, runtime = library("onnx"), library("onnxruntime")
    try:
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        proto = onnx.load_from_string(data)
    except Exception as error:
        raise ArtifactError(
            f"An exported file must be readable, but {_shown(model)} is not ({describe(error)}); "
            "export it again."
        ) from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    if sums_overflow():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if save is not None:
        options.optimized_model_filepath = str(save)
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtifactError(
            f"onnxruntime {runtime.__version__} must run the exported file, but {_shown(model)} "
            f"raised {describe(error)}; export it with another opset."
        ) from error


def run(session: Any, images: Tensor) -> Tensor:
    """Returns the logits of a batch in float32."""
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: as_array(images)})[0]).float()


@cache
def sums_overflow() -> bool:
    """Says whether onnxruntime loses what products of bytes exceed 16 bits by: probed once.

    It does on x86 processors without VNNI, unless it is told to take a slower way.
    """
    from onnx import helper, numpy_helper

    width = 64
    weights = np.full((width, 2), 127, np.int8)
    nodes = [
        helper.make_node("Cast", ["input"], ["bytes"], to=2),  # uint8
        helper.make_node("Concat", ["bytes"] * (width // 2), ["wide"], axis=1),
        helper.make_node("MatMulInteger", ["wide", "codes"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["logits"], to=1),  # float
    ]
    data = small_model(nodes, [numpy_helper.from_array(weights, "codes")], 21)
    options = library("onnxruntime").SessionOptions()
    options.log_severity_level = _QUIET
    loaded = library("onnxruntime").InferenceSession(
        data, options, providers=["CPUExecutionProvider"]
    )
    sums = loaded.run(None, {"input": np.full((1, 2), 255, np.float32)})[0]
    return not bool((sums == 255 * 127 * width).all())


def small_model(nodes: list[Any], constants: list[Any], opset: int) -> bytes:
    """Returns a model from an `input` (1, 2) to `logits` (1, 2)."""
    from onnx import TensorProto, helper

    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 2])]
    made = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])]
    graph = helper.make_graph(nodes, "probe", given, made, constants)
    data: bytes = assembled(graph, opset).SerializeToString()
    return data


def assembled(graph: Any, opset: int) -> Any:
    """Returns a `ModelProto` of a graph that uses ONNX's operators and onnxruntime's."""
    from onnx import helper

    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    version = helper.find_min_ir_version_for(sets, ignore_unknown=True)
    return helper.make_model(
        graph, opset_imports=sets, ir_version=version, producer_name="autocomp"
    )


def as_array(images: Tensor) -> npt.NDArray[Any]:
    """Returns a batch as the exported graph takes it."""
    images = images.detach().cpu()
    return (images.float() if images.is_floating_point() else images).contiguous().numpy()


def _shown(model: bytes | str | Path) -> str:
    return "it" if isinstance(model, bytes) else repr(str(model))
