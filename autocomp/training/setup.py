"""What a training is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from autocomp.data.split import Split
from autocomp.network.batches import Batches
from autocomp.tasks import Task
from autocomp.training.augmentation import Change
from autocomp.training.config import TrainingConfig
from autocomp.training.curve import OnPoint, untold
from autocomp.training.losses import Loss


@dataclass(frozen=True)
class TrainingSetup:
    """What a training is given.

    Attributes:
        network: what `load` or a search gave; a copy is trained.
        dense: the dense network: the teacher, and where codes start; copied, too.
        task: what the network is for.
        train: the samples to train on.
        config: how.
        teacher: another teacher; None for the dense network.
        rewind: tensors by name that floating weights, norms and biases begin with, under the plan's
            zeros (a lottery ticket); None for those of the network.
        loss: a loss that is an object; None for what `config` names.
        change: a user's own augmentation, after those that `config` names.
        limit: bytes that the file may have; None to leave the codes' length alone.
        source: tensors by name that the codes are a rounding of, where they are not the dense ones.
        search: samples for the looks on the way; None for none.
        device: where it runs.
        channels_last: whether convolutions run faster with their channels last.
        state: file of the state, which a killed training goes on from; None to keep none.
        on_point: told now and then how far it is.
    """

    network: nn.Module
    dense: nn.Module
    task: Task
    train: Split
    config: TrainingConfig
    teacher: nn.Module | None = None
    rewind: Mapping[str, Tensor] | None = None
    loss: Loss | None = None
    change: Change | None = None
    limit: int | None = None
    source: Mapping[str, Tensor] | None = None
    search: Batches | None = None
    device: torch.device = torch.device("cpu")
    channels_last: bool = False
    state: Path | None = None
    on_point: OnPoint = untold
