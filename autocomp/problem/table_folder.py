"""Where the tables of one network, its calibration data and one pipeline lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from autocomp.compression.source_digest import source_digest
from autocomp.compression.tables import TableFolder
from autocomp.compression.weights.pipeline import Pipeline
from autocomp.core.structured import Inputs
from autocomp.data import Split
from autocomp.network.fingerprint import fingerprint
from autocomp.network.scoring import outputs_on
from autocomp.tasks import Task


def table_folder(
    root: Path | None,
    model: nn.Module,
    calibration: Split,
    inputs: Inputs,
    pipeline: Pipeline,
    task: Task,
) -> TableFolder:
    """Returns the folder of tables that nothing else could have made.

    Its key holds the weights, the modules and some outputs of the network, the calibration data,
    the compressors with their settings, torch's version, and the source of all that a table
    depends on.

    Args:
        root: the cache folder, or None to keep nothing.
        model: the network.
        calibration: the split that layers are observed on.
        inputs: its first batch, as the network takes it; which positions moments are drawn from
            depends on its size.
        pipeline: what compresses a weight.
        task: what the network is for.
    """
    # what the network computes, not only its weights: the forward pass may differ
    outputs = outputs_on(model, [inputs[:8]], task).double()
    scale = float(outputs.abs().max()) or 1.0
    text = "|".join(
        (
            fingerprint(model), calibration.fingerprint(), pipeline.name, repr(model),
            source_digest(type(pipeline.pruner), type(pipeline.quantizer), type(task)),
            f"{scale:.2e}", f"{len(inputs)} a batch",
            str((outputs / scale * 1000).round().to(torch.int64).tolist()), task.name,
        )
    )  # fmt: skip
    return TableFolder(root, hashlib.sha256(text.encode()).hexdigest()[:24])
