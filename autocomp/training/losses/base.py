"""What a loss sees of a training step, and what every loss must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autocomp.errors import TrainingError
from autocomp.tasks import Task


class Tap(NamedTuple):
    """A place in both networks where a loss looks: what goes into a module, or what comes out.

    Attributes:
        module: its name.
        side: "in" or "out".
    """

    module: str
    side: str = "out"


@dataclass(frozen=True)
class TrainingBatch:
    """What one step of a training gave.

    Attributes:
        task: what the network is for.
        outputs: the trained network's, `(n, ...)`.
        teacher: the teacher's on the same inputs; None where no loss needs it.
        targets: the labels; None without.
        other: labels of the samples that inputs were mixed with, and the first ones' share; None
            where nothing was mixed.
        student_features: tap -> what the trained network has there.
        teacher_features: tap -> what the teacher has there.
        progress: share of the training that is done, in [0, 1].
        generator: random numbers of this step, on the CPU.
        again: runs the trained network once more on the same inputs.
        network: the trained network.
    """

    task: Task
    outputs: Tensor
    teacher: Tensor | None = None
    targets: Tensor | None = None
    other: tuple[Tensor, float] | None = None
    student_features: Mapping[Tap, Tensor] = field(default_factory=dict)
    teacher_features: Mapping[Tap, Tensor] = field(default_factory=dict)
    progress: float = 0.0
    generator: torch.Generator = field(default_factory=torch.Generator)
    again: Callable[[], Tensor] | None = None
    network: nn.Module | None = None

    def taught(self) -> Tensor:
        """Returns the teacher's outputs."""
        assert self.teacher is not None  # `needs_teacher` says so
        return self.teacher

    def labelled(self) -> Tensor:
        """Returns the labels."""
        assert self.targets is not None  # `needs_labels` says so
        return self.targets

    def pairs(self, tap: Tap) -> tuple[Tensor, Tensor]:
        """Returns what both networks have at a tap, the trained one's first."""
        if tap not in self.student_features or tap not in self.teacher_features:
            raise TrainingError(
                f"Both networks must have the module {tap.module!r} that a loss looks at, and call "
                "it with a tensor, but one does not; name another with at=."
            )
        return self.student_features[tap], self.teacher_features[tap]


class Loss(nn.Module, ABC):
    """A term of what a network is trained with: a scalar of a batch, averaged over its samples.

    It may hold parameters and buffers of its own, which are trained and kept with the network's.
    The file of a term says its formula and its paper.

    Attributes:
        needs_labels: whether it needs labels.
        needs_teacher: whether it needs the teacher's outputs or features.
        needs_classes: whether outputs must be logits of classes, `(n, classes)`.
    """

    needs_labels: bool = False
    needs_teacher: bool = False
    needs_classes: bool = False

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns where it looks.

        Args:
            layers: modules with compressed weights, in the order in which they are called.
        """
        return ()

    def build(self, batch: TrainingBatch) -> None:
        """Makes parameters whose shapes depend on the networks; called once, with a first batch."""

    def check(self, task: Task) -> None:
        """Raises TrainingError for a task that it does not suit."""
        if self.needs_classes and task.name != "classification":
            raise TrainingError(
                f"The loss {type(self).__name__} needs logits of classes, but the task is "
                f"{task.name}; take kd or task."
            )

    @abstractmethod
    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the loss of a batch."""


def flat(features: Tensor) -> Tensor:
    """Returns one vector a sample: maps averaged over their positions, else as it is."""
    return features.flatten(2).mean(2) if features.dim() > 2 else features


def middle(layers: Sequence[str]) -> str:
    """Returns the module in the middle of the network."""
    return layers[len(layers) // 2]
