"""Distillation from a teacher with noise on its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, TrainingBatch
from autocomp.training.losses.distillation import temperature


class NoisyTeacher(Loss):
    """`kd` with a teacher's logits (1 + xi) t, xi from N(0, sigma^2), for a share of the samples.

    Sau and Balasubramanian 2016, arXiv:1610.09650.

    Args:
        T: the temperature.
        sigma: deviation of the noise.
        share: of the samples that get noise, in [0, 1].
    """

    needs_teacher: bool = True

    def __init__(self, T: float = 4.0, sigma: float = 0.1, share: float = 0.5) -> None:
        super().__init__()
        if not (0 <= share <= 1 and sigma >= 0):
            raise TrainingError(
                f"`0 <= share <= 1` and `sigma >= 0` must hold, but got {share=} and {sigma=}."
            )
        self.temperature, self.sigma, self.share = temperature(T), float(sigma), float(share)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean divergence."""
        teacher = batch.taught()
        chosen = torch.rand(len(teacher), generator=batch.generator) < self.share
        noise = torch.randn(teacher.shape, generator=batch.generator) * self.sigma
        noise = noise * chosen.view(-1, *(1,) * (teacher.dim() - 1))
        teacher = teacher * (1 + noise.to(teacher))
        t = self.temperature if batch.task.unit == "nats" else 1.0
        return t**2 * batch.task.divergence(batch.outputs / t, teacher / t).mean()
