"""Distillation without a teacher: from a made-up one that is always right."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, TrainingBatch
from autocomp.training.losses.distillation import temperature


class VirtualTeacher(Loss):
    """T^2 KL(p_T || softmax(z / T)), p = a for the label, (1 - a) / (K - 1) for the others.

    Tf-KD's virtual teacher (Yuan et al. 2020, arXiv:1909.11723), whose p is softened, too:
    p_T = softmax(log p / T).

    Args:
        a: its certainty, in (0, 1).
        T: the temperature.
    """

    needs_labels: bool = True
    needs_classes: bool = True

    def __init__(self, a: float = 0.9, T: float = 20.0) -> None:
        super().__init__()
        if not 0 < a < 1:
            raise TrainingError(f"`0 < a < 1` must hold for a virtual teacher, but got a={a}.")
        self.certainty, self.temperature = float(a), temperature(T)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean divergence."""
        classes = batch.outputs.shape[1]
        rest = (1 - self.certainty) / max(1, classes - 1)
        labels = F.one_hot(batch.labelled(), classes)
        p = torch.where(labels.bool(), self.certainty, rest).log().to(batch.outputs.dtype)
        t = self.temperature
        soft = F.log_softmax(batch.outputs / t, 1)
        return t**2 * F.kl_div(
            soft, F.log_softmax(p / t, 1), log_target=True, reduction="batchmean"
        )
