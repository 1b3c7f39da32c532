"""Training plans' networks: on a problem's samples, towards its dense network, within its bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.artifacts.container import unpack
from autocomp.compression.noted_file import note_file, shapes_of
from autocomp.core.plan import Plan
from autocomp.data import DataSplits
from autocomp.network.batches import Batches
from autocomp.network.device import dtype_of
from autocomp.problem.settings import ProblemSettings
from autocomp.problem.subnet import structure_of
from autocomp.problem.subnets import Subnets
from autocomp.training import (
    Loss,
    OnPoint,
    Trained,
    TrainingConfig,
    TrainingSetup,
    finetune,
    untold,
)

_LATEST = 4
"""Networks after the short training that are kept."""
_NORM_SAMPLES = 1024
"""Training samples on which batch norms are looked at before they are rounded."""


@dataclass(frozen=True)
class TrainingRequest:
    """What a caller wants of a training.

    Attributes:
        config: how to train.
        teacher: another teacher than the dense network; None for that.
        rewind: tensors by name that floating weights begin with; None for those of the network.
        loss: a loss that is an object; None for what `config` names.
        change: an augmentation of the user's own, see `TrainingSetup`.
        state: file of the state that a killed training goes on from; None to keep none.
        on_point: told now and then how far it is.
    """

    config: TrainingConfig = field(default_factory=TrainingConfig)
    teacher: nn.Module | None = None
    rewind: Mapping[str, Tensor] | None = None
    loss: Loss | None = None
    change: Any = None
    state: Path | None = None
    on_point: OnPoint = untold


class Tuning:
    """Trains networks of a problem.

    Args:
        subnets: say what the codes of a plan's network are a rounding of.
        data: the training samples, or those of the calibration where there are none.
        settings: batch size, device and task.
        search: the search samples that F1 scores on.
        channels_last: whether convolutions run faster so.
    """

    def __init__(
        self, subnets: Subnets, data: DataSplits, settings: ProblemSettings, search: Batches,
        channels_last: bool,
    ) -> None:  # fmt: skip
        self._subnets, self._data, self._settings = subnets, data, settings
        self._search, self._channels_last = search, channels_last
        self._kept: OrderedDict[str, Trained] = OrderedDict()

    def anew(self) -> Tuning:
        """Returns the same for other budgets: what was trained is forgotten."""
        return Tuning(self._subnets, self._data, self._settings, self._search, self._channels_last)

    def tuned(
        self,
        plan: Plan,
        train: Callable[[nn.Module, Plan, TrainingRequest], Trained],
        compressed: Callable[[], tuple[nn.Module, bytes]],
    ) -> Trained:
        """Returns a plan's network after the short training; the latest ones are kept.

        Args:
            plan: the plan.
            train: trains a network under the problem's budgets.
            compressed: gives the network and its file before it.
        """
        if plan.key not in self._kept:
            model, data = compressed()
            note_file(model, unpack(data, shapes_of(model)))
            request = TrainingRequest(self._settings.tuning)
            self._kept[plan.key] = train(model, plan, request)
            while len(self._kept) > _LATEST:
                self._kept.popitem(last=False)
        self._kept.move_to_end(plan.key)
        return self._kept[plan.key]

    def train(
        self, network: nn.Module, plan: Plan, limit: int | None, request: TrainingRequest
    ) -> Trained:
        """Trains a network that a plan's file gave, and makes its file.

        Args:
            network: of the file; not changed.
            plan: what was done to it.
            limit: bytes that the file may have; None where no budget says so.
            request: what is wanted.
        """
        settings, dense = self._settings, self._subnets.dense.store.model
        samples = self._data.calibration if self._data.train is None else self._data.train
        settings.task.check_labels(samples.labels, samples.name)
        device = torch.device(settings.device)
        source = None
        if structure_of(plan):  # the dense weights have other shapes
            source = self._subnets.of(plan).store.model.state_dict()
        setup = TrainingSetup(
            network=network, dense=dense, task=settings.task, train=samples,
            config=request.config, loss=request.loss, change=request.change, limit=limit,
            teacher=request.teacher, rewind=request.rewind, source=source, search=self._search,
            device=device,
            channels_last=self._channels_last, state=request.state, on_point=request.on_point,
        )  # fmt: skip
        few = Batches(
            samples.subset(_NORM_SAMPLES, seed=1), settings.batch_size, device, dtype_of(dense),
            self._channels_last,
        )  # fmt: skip
        return finetune(setup, [inputs for inputs, _ in few])
