"""How long a compressed network really takes, beside the dense one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import nn

from autocomp.artifacts.container import unpack
from autocomp.compression.noted_file import shapes_of
from autocomp.core.structured import Inputs
from autocomp.exporters.onnx_file import export_float, export_onnx
from autocomp.runtime import call_overhead, latencies


def measured_latency(
    dense: nn.Module, network: nn.Module, data: bytes, example: Inputs, threads: int = 1
) -> tuple[int, int]:
    """Returns the nanoseconds of one input in the dense network, and in the compressed one.

    Both run in onnxruntime in turns, each as it is exported: medians, without what calling any
    network takes.

    Args:
        dense: the dense network.
        network: the compressed one, as loaded from its file.
        data: that file.
        example: one input.
        threads: of the runtime.

    Raises:
        ArtifactError, ModelError: if a network cannot be exported, or onnxruntime is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        report = export_onnx(network, unpack(data, shapes_of(network)), example, path)
        first, second = latencies([export_float(dense, example, report.opset), path], example,
                                  threads)  # fmt: skip
    overhead = call_overhead(threads)
    return max(1, round(first * 1e9) - overhead), max(1, round(second * 1e9) - overhead)
