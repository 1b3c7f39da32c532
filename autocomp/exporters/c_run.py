"""From a run's compressed file to a C header that is compiled, checked and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from autocomp.core.structured import Inputs
from autocomp.data import DataSplits
from autocomp.errors import ArtifactError, ModelError
from autocomp.exporters.c_compiled import CompiledHeader
from autocomp.exporters.c_file import c_header, c_name, write_header
from autocomp.exporters.report import Exported
from autocomp.exporters.subject import Subject
from autocomp.exporters.verify import verify
from autocomp.network.forward import forward
from autocomp.runtime import REPEATS, bare, interleaved
from autocomp.tasks import Task

_TOLERANCE = 1e-3


def export_c_run(
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
    """Exports a run's compressed file as a C header, compiles it, checks and measures it.

    The times are those of the compiled header on this machine, one input, and of the same network
    in floats, written and compiled in the same way.

    Args:
        file: a run's `model.safetensors`.
        out: the header to write.
        data: as for a search.
        model: the architecture, where the file names none.
        opset: of ONNX alone; None here.
        split: "calibration", "search" or "test".
        threads: of other runtimes; 1 here.
        repeats: timed runs of one input.
        task: what the network is for; None for classification.

    Raises:
        ArtifactError, ModelError, UnknownNameError, DataError: for bad input, in one line.
    """
    if opset is not None or threads != 1:
        raise ArtifactError(
            f"A C header has no opset and one thread, but got {opset=}, {threads=}; leave them out."
        )
    subject = Subject.of(file, data, model, split, task)
    network, packed, example = subject.network, subject.packed, subject.example
    header = c_header(network, packed, example, c_name(out))
    compiled = CompiledHeader(header)
    dense = bare(network)
    floats = c_header(dense, None, example, f"{header.name}_float")
    plain = CompiledHeader(floats)
    _check_outputs(plain, dense, subject.few)
    if not packed.activations:  # a sum on the boundary of two levels may fall to either side
        _check_outputs(compiled, dense, subject.few)
    write_header(header, out)
    check = verify(
        out, network, subject.batches, subject.task, outputs=compiled.outputs
    )  # fmt: skip
    times = interleaved(
        [lambda: compiled.outputs(example), lambda: plain.outputs(example)], repeats
    )  # fmt: skip
    seconds, of_floats = (median(x) / 1e9 for x in times)
    check = replace(check, bytes=header.report.bytes)
    return Exported(header.report, check, seconds, of_floats, floats.report.bytes, 1)


def _check_outputs(compiled: CompiledHeader, network: nn.Module, inputs: Inputs) -> None:
    """Raises ModelError unless a header without rounded values gives its network's outputs."""
    with torch.inference_mode():
        wanted = forward(network, inputs)
    found = compiled.outputs(inputs)
    shapes = tuple(found.shape), tuple(wanted.shape)
    gap = float((found - wanted).abs().max()) if shapes[0] == shapes[1] else float("inf")
    if not gap <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise ModelError(
            f"The header must give the network's outputs, {shapes[1]}, but they are {shapes[0]} "
            f"and differ by {gap:.3g}; export to onnx, and report the operator."
        )
