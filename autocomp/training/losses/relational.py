"""Relational distillation: how samples of a batch lie to each other, as in the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.training.losses.base import Loss, Tap, TrainingBatch, flat


class _Relational(Loss):
    """What both relations share: the features in front of the last layer.

    Args:
        at: the module whose input is looked at; "" for the last compressed one.
    """

    needs_teacher: bool = True

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self.at = str(at)

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module's input."""
        self._tap = Tap(self.at or layers[-1], "in")
        return (self._tap,)


class RelationalDistance(_Relational):
    """Huber of |x_i - x_j| / mean over all pairs, against the teacher's (RKD-D, weight 25).

    Park et al. 2019, arXiv:1904.05068.
    """

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean over the pairs."""
        student, teacher = (distances(flat(x)) for x in batch.pairs(self._tap))
        return F.smooth_l1_loss(student, teacher)


class RelationalAngle(_Relational):
    """Huber of the cosines of the angles that triples of samples make (RKD-A, weight 50).

    Park et al. 2019, arXiv:1904.05068.
    """

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean over the triples."""
        student, teacher = (angles(flat(x)) for x in batch.pairs(self._tap))
        return F.smooth_l1_loss(student, teacher)


def distances(vectors: Tensor) -> Tensor:
    """Returns the distances of all pairs over their mean, `(n, n)`."""
    squares = vectors.square().sum(1)
    gaps = (squares[:, None] + squares[None] - 2 * vectors @ vectors.T).clamp(min=1e-12).sqrt()
    gaps = gaps * (1 - torch.eye(len(vectors), device=vectors.device))
    return gaps / gaps[gaps > 0].mean().clamp(min=1e-12)


def angles(vectors: Tensor) -> Tensor:
    """Returns the cosines between i - j and k - j of all triples, `(n, n, n)`, j first."""
    directions = F.normalize(vectors[None] - vectors[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
