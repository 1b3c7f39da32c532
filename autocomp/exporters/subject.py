"""What every exporter starts from: a run's network, its file, and the samples that check it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autocomp.artifacts.packed import PackedModel
from autocomp.compression.loading import load
from autocomp.compression.noted_file import file_of
from autocomp.core.structured import Inputs
from autocomp.data import DataSplits, load_data
from autocomp.errors import ArtifactError
from autocomp.network.as_one import as_one
from autocomp.network.batches import Batches
from autocomp.network.device import dtype_of, of_type
from autocomp.tasks import Classification, Task

_FEW = 8


@dataclass(frozen=True)
class Subject:
    """A network that is exported.

    Attributes:
        network: what the file holds, evaluated; it returns what counts, see `as_one`.
        packed: the file's contents.
        batches: what an export is compared on.
        example: one input.
        few: some inputs, in float32.
        task: what the network is for.
    """

    network: nn.Module
    packed: PackedModel
    batches: Batches
    example: Inputs
    few: Inputs
    task: Task

    @classmethod
    def of(
        cls, file: Path, data: str | DataSplits,
        model: str | nn.Module | Callable[..., nn.Module] | None, split: str, task: Task | None,
    ) -> Subject:  # fmt: skip
        """Loads a compressed file.

        Args:
            file: a run's `model.safetensors`.
            data: as for a search.
            model: the architecture, where the file names none.
            split: "calibration", "search" or "test".
            task: what the network is for; None for classification.

        Raises:
            ArtifactError, ModelError, UnknownNameError, DataError: for bad input, in one line.
        """
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
        few = splits.example_inputs(min(_FEW, len(splits.calibration)))
        as_one(network, task, of_type(few[:2], dtype_of(network)))
        return cls(
            network, packed, Batches(splits.named(split), 256, torch.device("cpu")),
            splits.example_inputs(1), of_type(few, torch.float32), task,
        )  # fmt: skip
