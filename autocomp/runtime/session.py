"""Loading an ONNX model with onnxruntime on the CPU: the one place that chooses its options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autocomp.core.structured import Inputs, leaves_of, names_of
from autocomp.errors import ArtifactError, ModelError
from autocomp.plugins.imports import describe
from autocomp.runtime.libraries import library
from autocomp.runtime.model_proto import probe_model

_FATAL = 4
"""The severity from which on onnxruntime writes; what it raises says as much."""


def open_session(model: bytes | Path, threads: int = 1, save: Path | None = None) -> Any:
    """Returns an `onnxruntime.InferenceSession` on the CPU; operators run one after the other.

    Where nothing but weights is quantized, they are multiplied out once, when the file is loaded;
    by default onnxruntime does that again for every batch, which took ResNet-20 with weights of 4
    bits from 0.44 ms to 0.95.

    Args:
        model: the file, or its bytes.
        threads: threads within an operator, at least 1.
        save: where to write the graph as the runtime has optimised it.

    Raises:
        ModelError: if a library is missing, `threads` is below 1, or onnxruntime cannot load the
            model.
        ArtifactError: if it is no ONNX model.
    """
    if threads < 1:
        raise ModelError(f"`threads` must be at least 1, but got {threads}; change it.")
    onnx, runtime = library("onnx"), library("onnxruntime")
    try:
        if isinstance(model, bytes):
            proto = onnx.load_model_from_string(model)
        else:  # onnxruntime finds weights that lie beside a file
            proto = onnx.load_model(str(model), load_external_data=False)
    except Exception as error:  # protobuf's errors share no class with those of files
        raise ArtifactError(
            f"An exported file must be readable, but {_shown(model)} is not ({describe(error)}); "
            "export it again."
        ) from error
    try:
        return _load(model, threads, _entries(proto), save)
    except Exception as error:  # onnxruntime has a class an error code, below Exception
        raise ModelError(
            f"onnxruntime {runtime.__version__} must run the network, but {_shown(model)} raised "
            f"{describe(error)}; change what it does not know, or export it with another opset."
        ) from error


def run(session: Any, images: Inputs) -> Tensor:
    """Returns the first output for a batch in float32; ModelError if onnxruntime cannot run it."""
    leaves = dict(zip(names_of(images), leaves_of(images), strict=True))
    wanted = [given.name for given in session.get_inputs()]
    if len(leaves) == 1 == len(wanted):
        leaves = dict(zip(wanted, leaves.values(), strict=True))
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves.values())
    try:
        given = {name: as_array(leaves[name]) for name in wanted}
        found = session.run(None, given)[0]
    except Exception as error:  # onnxruntime has a class an error code, below Exception
        raise ModelError(
            f"onnxruntime must run the network on inputs of shape {shapes}, but "
            f"raised {describe(error)}; give inputs that it accepts, or export it with another "
            "opset."
        ) from error
    return torch.from_numpy(found).float()


def as_array(images: Tensor) -> npt.NDArray[Any]:
    """Returns a batch as a traced graph takes it: floating point in float32."""
    images = images.detach().cpu()
    return (images.float() if images.is_floating_point() else images).contiguous().numpy()


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
    data = probe_model(nodes, [numpy_helper.from_array(weights, "codes")])
    sums = _load(data, 1, {}).run(None, {"input": np.full((1, 2), 255, np.float32)})[0]
    return not bool((sums == 255 * 127 * width).all())


def _entries(proto: Any) -> dict[str, str]:
    """Returns what onnxruntime is told about quantization for this graph."""
    found = {}
    if sums_overflow():
        found["session.x64quantprecision"] = "1"
    if not any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        found["session.disable_quant_qdq"] = "1"
    return found


def _load(
    model: bytes | Path, threads: int, entries: Mapping[str, str], save: Path | None = None
) -> Any:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    if save is not None:
        options.optimized_model_filepath = str(save)
    given = model if isinstance(model, bytes) else str(model)
    return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def _shown(model: bytes | Path) -> str:
    return "it" if isinstance(model, bytes) else repr(str(model))
