"""From a run's compressed file to an ONNX file that is checked and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from autocomp.data import DataSplits
from autocomp.exporters.onnx_file import check_opset, export_float, export_onnx
from autocomp.exporters.report import Exported
from autocomp.exporters.subject import Subject
from autocomp.exporters.verify import verify
from autocomp.runtime import REPEATS, latencies
from autocomp.tasks import Task


def export_run(
    file: Path,
    out: Path,
    data: str | DataSplits,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    opset: int | None = None,
    split: str = "test",
    threads: int = 1,
    repeats: int = REPEATS,
    task: Task | None = None,
) -> Exported:
    """Exports a run's compressed file, checks it on a split and measures it.

    Args:
        file: a run's `model.safetensors`.
        out: the ONNX file to write.
        data: as for a search.
        model: the architecture, where the file names none.
        opset: as `export_onnx`.
        split: "calibration", "search" or "test".
        threads: of onnxruntime.
        repeats: timed runs of one image; fewer for a network that takes long.
        task: what the network is for; None for classification.

    Raises:
        ArtifactError, ModelError, UnknownNameError, DataError: for bad input, in one line.
    """
    check_opset(opset)
    subject = Subject.of(file, data, model, split, task)
    network, example = subject.network, subject.example
    report = export_onnx(network, subject.packed, example, out, opset)
    check = verify(out, network, subject.batches, subject.task, threads)
    reference = export_float(network, example, report.opset)
    floats, seconds = latencies([reference, out], example, threads, repeats)
    return Exported(report, check, seconds, floats, len(reference), threads)
