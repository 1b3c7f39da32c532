"""Distillation: the trained network's outputs near to the teacher's (Hinton et al. 2015)."""

from __future__ import annotations

from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, TrainingBatch


class Distillation(Loss):
    """T^2 D(z / T, t / T): the task's divergence of softened outputs z from the teacher's t.

    For classes D is KL(softmax(t / T) || softmax(z / T)), Hinton et al. 2015, arXiv:1503.02531; for
    tasks whose outputs are no logits T does not count.

    Args:
        T: the temperature.
    """

    needs_teacher: bool = True

    def __init__(self, T: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature(T)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean divergence."""
        t = self.temperature if batch.task.unit == "nats" else 1.0
        found = batch.task.divergence(batch.outputs / t, batch.taught() / t)
        return t**2 * found.mean()


def temperature(value: float) -> float:
    """Returns a temperature; TrainingError unless it is positive."""
    if not 0 < value < float("inf"):
        raise TrainingError(f"A temperature must be positive, but got T={value}; 4 is usual.")
    return float(value)
