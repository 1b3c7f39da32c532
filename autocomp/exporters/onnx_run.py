"""From a run's compressed file to an ONNX file that is checked and measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from autocomp.compression.loading import load
from autocomp.compression.noted_file import file_of
from autocomp.data import DataSplits, load_data
from autocomp.errors import ArtifactError
from autocomp.exporters.onnx_file import check_opset, export_float, export_onnx
from autocomp.exporters.report import Exported
from autocomp.exporters.verify import verify
from autocomp.network.as_one import as_one
from autocomp.network.batches import Batches
from autocomp.network.device import dtype_of, of_type
from autocomp.runtime import REPEATS, latencies
from autocomp.tasks import Classification, Task


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
    if split not in ("calibration", "search", "test"):
        raise ArtifactError(
            f"`split` must be calibration, search or test, but got {split!r}; use test."
        )
    task = task or Classification()
    splits = load_data(data)
    task.check_labels(splits.named(split).labels, split)
    network = load(file, model)
    packed = file_of(network)
    assert packed is not None  # `load` notes it
    batches = Batches(splits.named(split), 256, torch.device("cpu"))
    example = splits.example_inputs(1)
    few = splits.example_inputs(min(2, len(splits.calibration)))
    as_one(network, task, of_type(few, dtype_of(network)))
    report = export_onnx(network, packed, example, out, opset)
    check = verify(out, network, batches, task, threads)
    reference = export_float(network, example, report.opset)
    floats, seconds = latencies([reference, out], example, threads, repeats)
    return Exported(report, check, seconds, floats, len(reference), threads)
