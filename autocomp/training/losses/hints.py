"""Hints: a layer's outputs near to the teacher's (FitNets)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, Tap, TrainingBatch, middle


class Hints(Loss):
    """1/2 mean (r(F_s) - F_t)^2 at one module (Romero et al. 2015, arXiv:1412.6550).

    r is the identity where the widths are equal. Where the trained network has lost channels,
    `keep` says which of the teacher's stayed, and those alone are compared; without it r is a
    learned 1 x 1 regressor, as in the paper.

    Args:
        at: the module; "" for the one in the middle.
        keep: the teacher's channels that stayed, in order; () if unknown.
    """

    needs_teacher: bool = True

    def __init__(self, at: str = "", keep: Sequence[int] = ()) -> None:
        super().__init__()
        self.at, self.keep = str(at), tuple(keep)
        self.regressor: nn.Linear | None = None

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module."""
        self._tap = Tap(self.at or middle(layers))
        return (self._tap,)

    def build(self, batch: TrainingBatch) -> None:
        """Makes the regressor where one is needed."""
        student, teacher = batch.pairs(self._tap)
        axis = _axis(teacher)
        widths = student.shape[axis], teacher.shape[axis]
        if self.keep and len(self.keep) != widths[0]:
            raise TrainingError(
                f"`keep` must name the {widths[0]} channels of {self._tap.module!r} that stayed, "
                f"but names {len(self.keep)}."
            )
        if widths[0] != widths[1] and not self.keep:
            self.regressor = nn.Linear(*widths, bias=False).to(student)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                nn.init.orthogonal_(self.regressor.weight)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns half the mean squared difference."""
        student, teacher = batch.pairs(self._tap)
        axis = _axis(teacher)
        if self.keep:
            teacher = teacher.index_select(axis, torch.tensor(self.keep, device=teacher.device))
        elif self.regressor is not None:
            student = self.regressor(student.transpose(axis, -1)).transpose(axis, -1)
        return 0.5 * (student - teacher).square().mean()


def _axis(features: Tensor) -> int:
    """The axis of the channels: of maps the second, of vectors and tokens the last."""
    return 1 if features.dim() > 3 else -1
