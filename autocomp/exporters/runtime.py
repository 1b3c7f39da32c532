"""An exported file against its network, its latency, and the operators that it becomes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from autocomp.errors import ArtifactError
from autocomp.exporters.report import Check
from autocomp.network.device import dtype_of
from autocomp.runtime.session import as_array, library, run, session
from autocomp.tasks.classification import check_logits, is_right

_THROUGH = ("DequantizeLinear", "Transpose", "Cast", "Identity")


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
    name, images = [s.get_inputs()[0].name for s in loaded], as_array(example)
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


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
