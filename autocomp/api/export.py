"""Writing a run's network for another runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.api.inputs import source_of_export
from autocomp.errors import ArtifactError
from autocomp.exporters.formats import exporter
from autocomp.exporters.report import Exported
from autocomp.plugins.border import border
from autocomp.storage.paths import user_path
from autocomp.tasks import Task, make_task


@border("autocomp.export")
def export(
    run: str | Path,
    to: str = "onnx",
    *,
    out: str | Path | None = None,
    data: Any = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    split: str = "test",
    opset: int | None = None,
    threads: int = 1,
    trust: bool = False,
) -> Exported:
    """Exports a run's network, loads it again, compares it on a split and times it.

    Args:
        run: a run folder, or its compressed file.
        to: the format: "onnx", "c" (a C header for devices without a runtime, which a C compiler
            checks here), or one that another package offers.
        out: file to write; beside the compressed one by default.
        data: as for `autocomp.search`; the run's own by default.
        model: the architecture; the run's own, or the file's, by default.
        task: what the network is for; the run's own by default.
        split: the images on which the file is compared with the network.
        opset: ONNX opset, 21 to 25; of that format alone.
        threads: threads of the runtime.
        trust: whether the run may name code to import.

    Raises:
        AutocompError: in one line, for anything wrong with the input, or a missing library.
    """
    form = exporter(to)
    file, data, model, task = source_of_export(run, data, model, trust, task)
    target = file.with_suffix(form.suffix) if out is None else user_path(out, "out", ArtifactError)
    if target.resolve() == file.resolve():
        raise ArtifactError(
            f"An export must not be written over the run's own file, but `out` is {str(target)!r}; "
            "choose another file."
        )
    return form.run(
        file, target, data, model, opset, split=split, threads=threads, task=make_task(task)
    )
