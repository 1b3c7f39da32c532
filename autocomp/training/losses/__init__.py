"""Losses: what a network is trained with, one a file; combined as "0.9*kd(T=4)+0.1*task".

To add one, subclass `Loss` and pass an instance, or register its class in `LOSSES`, or under the
entry-point group `autocomp.losses` of another package, to name it on the command line.
"""

from __future__ import annotations

from autocomp.errors import TrainingError
from autocomp.plugins.registry import Factory, find
from autocomp.training.losses.attention_maps import AttentionMaps
from autocomp.training.losses.attribution import Attribution
from autocomp.training.losses.base import Loss, Tap, TrainingBatch
from autocomp.training.losses.contrastive import Contrastive
from autocomp.training.losses.distillation import Distillation
from autocomp.training.losses.expression import Sum, parse_loss
from autocomp.training.losses.hints import Hints
from autocomp.training.losses.label_smoothing import LabelSmoothing
from autocomp.training.losses.noisy_teacher import NoisyTeacher
from autocomp.training.losses.relational import RelationalAngle, RelationalDistance
from autocomp.training.losses.stochastic_precision import StochasticPrecision
from autocomp.training.losses.subclass import Subclass
from autocomp.training.losses.task_loss import TaskLoss
from autocomp.training.losses.virtual_teacher import VirtualTeacher

LOSSES: dict[str, Factory] = {
    "task": TaskLoss,
    "ce": TaskLoss,
    "kd": Distillation,
    "hints": Hints,
    "attention": AttentionMaps,
    "rkd-distance": RelationalDistance,
    "rkd-angle": RelationalAngle,
    "crd": Contrastive,
    "subclass": Subclass,
    "noisy-teacher": NoisyTeacher,
    "virtual-teacher": VirtualTeacher,
    "label-smoothing": LabelSmoothing,
    "attribution": Attribution,
    "speq": StochasticPrecision,
}
GROUP = "autocomp.losses"

__all__ = [
    "GROUP",
    "LOSSES",
    "Loss",
    "Sum",
    "Tap",
    "TrainingBatch",
    "make_loss",
]


def make_loss(spec: str | Loss) -> Sum:
    """Returns the loss that `spec` stands for.

    Args:
        spec: a loss, or a text as "0.9*kd(T=4)+0.1*task+100*hints".

    Raises:
        UnknownNameError: if nothing is registered so.
        TrainingError: if the text cannot be read, or a term does not take its options.
    """
    if isinstance(spec, Sum):
        return spec
    if isinstance(spec, Loss):
        return Sum([spec], [1.0])
    if not isinstance(spec, str):
        raise TrainingError(
            f"A loss must be a text as 0.9*kd(T=4)+0.1*task, or an object of autocomp.training."
            f"losses.Loss, but got {spec!r:.60}."
        )
    return parse_loss(spec, lambda name: find("loss", name, LOSSES, GROUP))
