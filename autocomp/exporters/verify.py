"""An exported file against the network that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from autocomp.core.structured import Inputs
from autocomp.errors import ArtifactError
from autocomp.exporters.report import Check
from autocomp.network.batches import Batch
from autocomp.network.device import dtype_of, of_type
from autocomp.network.scoring import Predicted, Tally, checked
from autocomp.runtime import open_session, run
from autocomp.tasks import Task


def verify(
    path: Path,
    network: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    threads: int = 1,
    outputs: Callable[[Inputs], Tensor] | None = None,
) -> Check:
    """Compares an exported file with the network that it was made from.

    Args:
        path: the file.
        network: the evaluated network, in evaluation mode, with its activation quantizers; it
            returns what the file does (see `as_one`).
        batches: inputs and labels, for instance `Batches`.
        task: what the network is for.
        threads: of onnxruntime.
        outputs: what runs the file; onnxruntime if None.

    Raises:
        ArtifactError: if the file cannot be read, or there are no samples.
        ModelError: if onnxruntime cannot run it.
        DataError: if outputs or labels are not of the task's kind.
    """
    if outputs is None:
        outputs = partial(run, open_session(path, threads))
    of_file, of_network = Tally(task), Tally(task)
    largest, same, decided = 0.0, 0, 0
    n = 0
    device, kind = _device(network), dtype_of(network)
    for inputs, labels in batches:
        targets = task.targets(labels, inputs)
        targets = None if targets is None else targets.cpu()
        with torch.inference_mode():
            expected = network(of_type(inputs, kind).to(device)).float().cpu()
            found = checked(outputs(inputs), len(inputs), task, targets)
        of_file.add(Predicted(found, targets), expected)
        of_network.add(Predicted(expected, targets), expected)
        ours, theirs = task.decisions(found), task.decisions(expected)
        if not ours.is_floating_point():
            same += int((ours == theirs).sum())
            decided += ours.numel()
        largest = max(largest, float((found - expected).abs().max()))
        n += len(inputs)
    if n == 0:
        raise ArtifactError("A check needs at least one labelled image, but got none; give data.")
    metric = task.metric
    if task.compares:  # with the network itself: the dense one is not here
        metric = replace(metric, name=f"{metric.name} to the network's own")
    return Check(
        n, of_file.score().quality, of_network.score().quality,
        same / decided if decided else None, largest, path.stat().st_size, metric,
    )  # fmt: skip


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))
