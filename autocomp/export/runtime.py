"""Running an exported file with onnxruntime: sessions, latency, and a check against the network."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autocomp.errors import ArtifactError
from autocomp.evaluate import check_logits, dtype_of, is_right
from autocomp.export.report import Check
from autocomp.imports import describe, optional_import

EXTRA = "onnx"
"""The extra of this package that installs the libraries."""
_THROUGH = ("DequantizeLinear", "Transpose", "Cast", "Identity")
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
    return torch.from_numpy(session.run(None, {name: _array(images)})[0]).float()


def verify(
    path: str | Path,
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    threads: int = 1,
) -> Check:
    """Compares an exported file with the network that it was made from.

    Args:
        path: the file.
        network: the evaluated network, in evaluation mode, with its activation quantizers.
        batches: (images, labels), for instance `evaluate.Batches`.
        threads: of onnxruntime.

    Raises:
        ArtifactError: if the file cannot be run.
        DataError: if the outputs are no logits, or there is a label beyond them.
    """
    loaded = session(path, threads)
    n = right = network_right = same = 0
    largest = 0.0
    device, kind = _device(network), dtype_of(network)
    with torch.inference_mode():
        for images, labels in batches:
            given = images.to(device, kind) if images.is_floating_point() else images.to(device)
            expected = network(given).float().cpu()
            found = run(loaded, images)
            labels = labels.cpu()
            check_logits(found, labels)
            right += int(is_right(found, labels).sum())
            network_right += int(is_right(expected, labels).sum())
            same += int((found.argmax(1) == expected.argmax(1)).sum())
            largest = max(largest, float((found - expected).abs().max()))
            n += len(labels)
    if n == 0:
        raise ArtifactError("A check needs at least one labelled image, but got none; give data.")
    size = Path(path).stat().st_size
    return Check(n, right / n, network_right / n, same / n, largest, size)


def latency(
    path: bytes | str | Path, example: Tensor, threads: int = 1, repeats: int = 50
) -> float:
    """Returns the median time of one run in seconds, after a warm-up.

    Args:
        path: the file, or its bytes.
        example: the batch.
        threads: of onnxruntime.
        repeats: how many runs, at least 1.

    Raises:
        ArtifactError: if the file cannot be run, or `repeats < 1`.
    """
    return latencies([path], example, threads, repeats)[0]


def latencies(
    models: Sequence[bytes | str | Path], example: Tensor, threads: int = 1, repeats: int = 50
) -> tuple[float, ...]:
    """Returns `latency` of several files, run in turns so that all meet the same machine."""
    if repeats < 1:
        raise ArtifactError(f"`repeats >= 1` must hold, but got {repeats}.")
    loaded = [session(model, threads) for model in models]
    name, images = [s.get_inputs()[0].name for s in loaded], _array(example)
    times: list[list[float]] = [[] for _ in loaded]
    for repeat in range(-max(3, repeats // 10), repeats):
        for one, given, taken in zip(loaded, name, times, strict=True):
            start = time.perf_counter()
            one.run(None, {given: images})
            if repeat >= 0:
                taken.append(time.perf_counter() - start)
    return tuple(statistics.median(taken) for taken in times)


def kernels(data: bytes) -> dict[str, str]:
    """Returns which operators take each constant in the graph that onnxruntime really runs.

    Raises:
        ArtifactError: if it cannot load the file.
    """
    onnx = library("onnx")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        session(data, save=file)
        graph = onnx.load(str(file)).graph
    found: dict[str, str] = {}
    for tensor in graph.initializer:
        used, types = {tensor.name}, set()
        for node in graph.node:  # in topological order
            if used & set(node.input):
                if node.op_type in _THROUGH:
                    used |= set(node.output)
                    types |= {node.op_type} & {"DequantizeLinear"}
                else:
                    types.add(node.op_type)
        found[tensor.name] = " + ".join(sorted(types))
    return found


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
    data = _small(nodes, [numpy_helper.from_array(weights, "codes")], 21)
    options = library("onnxruntime").SessionOptions()
    options.log_severity_level = _QUIET
    loaded = library("onnxruntime").InferenceSession(
        data, options, providers=["CPUExecutionProvider"]
    )
    sums = loaded.run(None, {"input": np.full((1, 2), 255, np.float32)})[0]
    return not bool((sums == 255 * 127 * width).all())


@cache
def runs_integers(bits: int, opset: int) -> bool:
    """Says whether onnxruntime really runs DequantizeLinear of `bits` bits: a probe of one node."""
    from onnx import TensorProto, helper

    from autocomp.export.integers import Stored

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

    from autocomp.export.integers import Stored, blocks

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
        found = run(session(_small(nodes, constants, opset)), torch.ones(1, 2)).numpy()
    except ArtifactError:
        return False
    return bool(np.array_equal(found, expected))


def _small(nodes: list[Any], constants: list[Any], opset: int) -> bytes:
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


def _array(images: Tensor) -> npt.NDArray[Any]:
    """Returns a batch as the exported graph takes it."""
    images = images.detach().cpu()
    return (images.float() if images.is_floating_point() else images).contiguous().numpy()


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _shown(model: bytes | str | Path) -> str:
    return "it" if isinstance(model, bytes) else repr(str(model))
