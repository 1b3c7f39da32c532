"""The task's own loss: cross-entropy of classes, squared error of a regression, ..."""

from __future__ import annotations

from torch import Tensor

from autocomp.training.losses.base import Loss, TrainingBatch


class TaskLoss(Loss):
    """`Task.loss`, averaged over the samples; of mixed inputs the share of both labels."""

    needs_labels: bool = True

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean loss."""
        own = batch.task.loss(batch.outputs, batch.labelled()).mean()
        if batch.other is None:
            return own
        targets, share = batch.other
        return share * own + (1 - share) * batch.task.loss(batch.outputs, targets).mean()
