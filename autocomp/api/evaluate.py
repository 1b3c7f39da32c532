"""Scoring a compressed file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.compression.loading import load
from autocomp.core.score import Score
from autocomp.data import load_data
from autocomp.errors import AutocompError
from autocomp.models import build_model
from autocomp.network.as_one import as_one
from autocomp.network.batches import Batches
from autocomp.network.device import dtype_of, usable_device
from autocomp.network.scoring import score
from autocomp.network.working_copy import working_copy
from autocomp.plugins.border import border
from autocomp.tasks import Task, make_task


@border("autocomp.evaluate")
def evaluate(
    file: str | Path,
    data: Any = "digits",
    *,
    split: str = "test",
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task = "classification",
    dense: str | nn.Module | Callable[..., nn.Module] | None = None,
    weights: str | Path = "",
    batch_size: int = 500,
    device: str = "cpu",
) -> Score:
    """Returns quality and loss of a compressed file on one split of a data set.

    Args:
        file: a run's `model.safetensors`.
        data: as for `autocomp.search`.
        split: "calibration", "search" or "test".
        model: the architecture, where the file names none; as for `autocomp.load`.
        task: what the network is for: a task, or its name and options.
        dense: the dense network, for a task whose figures compare with it (embedding).
        weights: its weights, where `dense` is a name.
        batch_size: images per forward pass, at least 1.
        device: where the network runs.

    Raises:
        AutocompError: in one line, for anything wrong with the input.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise AutocompError(
            f"`batch_size` must be a whole number of at least 1, but got {batch_size!r}; change it."
        )
    where = usable_device(device)
    network = load(file, model).to(where)
    chosen = load_data(data).named(split)
    made = make_task(task)
    made.check_labels(chosen.labels, chosen.name)
    if made.compares and dense is None:
        raise AutocompError(
            f"Figures of the task {made.name} compare with the dense network's outputs, but "
            "`dense` is missing; give it."
        )
    batches = Batches(chosen, batch_size, where, dtype_of(network))
    few = next(iter(batches))[0][:2]
    original = None
    if dense is not None:
        original = as_one(working_copy(build_model(dense, weights or None), where), made, few)
    return score(as_one(network, made, few), batches, made, original)
