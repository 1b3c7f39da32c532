"""Label smoothing: cross-entropy with a share of every label given to all classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, TrainingBatch


class LabelSmoothing(Loss):
    """Cross-entropy to (1 - e) onehot(y) + e / K (Szegedy et al. 2016, arXiv:1512.00567).

    Args:
        e: the share, in [0, 1).
    """

    needs_labels: bool = True
    needs_classes: bool = True

    def __init__(self, e: float = 0.1) -> None:
        super().__init__()
        if not 0 <= e < 1:
            raise TrainingError(f"`0 <= e < 1` must hold for label smoothing, but got e={e}.")
        self.share = float(e)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean loss."""
        return F.cross_entropy(batch.outputs, batch.labelled(), label_smoothing=self.share)
