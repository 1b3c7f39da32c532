"""Attention transfer: where in an image a layer is active, as in the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, Tap, TrainingBatch, middle


class AttentionMaps(Loss):
    """mean ||Q_s / ||Q_s|| - Q_t / ||Q_t||||^2, Q = mean over channels of F^2, as a vector.

    Zagoruyko and Komodakis 2017, arXiv:1612.03928. The widths may differ, the positions may not.

    Args:
        at: the module; "" for the one in the middle.
    """

    needs_teacher: bool = True

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self.at = str(at)

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module."""
        self._tap = Tap(self.at or middle(layers))
        return (self._tap,)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean squared difference of the normalised maps."""
        first, second = (attention(x) for x in batch.pairs(self._tap))
        if first.shape != second.shape:
            raise TrainingError(
                f"Attention maps must have the same positions, but {self._tap.module!r} has "
                f"{first.shape[1]} and {second.shape[1]}; name another module with at=."
            )
        return (first - second).square().sum(1).mean()


def attention(features: Tensor) -> Tensor:
    """Returns the map of each sample, `(n, positions)`, of length one."""
    if features.dim() < 3:
        raise TrainingError(
            f"Attention maps need features with positions, but got shape {tuple(features.shape)}; "
            "name a convolution with at=."
        )
    channels = 1 if features.dim() > 3 else -1
    return F.normalize(features.square().mean(channels).flatten(1), dim=1)
