"""Multilabel classification: any number of labels for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.errors import DataError
from autocomp.tasks.base import Task
from autocomp.tasks.classification import ratio
from autocomp.tasks.measure import Measure, SumMeasure


class Multilabel(Task):
    """Any number of labels for each sample: logits and targets (0 or 1) `(n, labels)`.

    A label is given where its logit is positive. Metrics: f1 (over all samples and labels
    together), exact (share of samples with all labels right), label-accuracy. Loss: binary
    cross-entropy in nats, averaged over labels. Divergence: KL of the labels' Bernoulli
    distributions in nats, averaged over labels.
    """

    name: ClassVar[str] = "multilabel"
    temperature: ClassVar[float] = 4.0

    def measures(self) -> Mapping[str, Measure]:
        """Returns f1, exact and label-accuracy."""
        return {
            "f1": SumMeasure(
                Metric("F1"), _counts, lambda s: 2 * s[0] / (s[1] + s[2]).clamp(min=1)
            ),
            "exact": SumMeasure(Metric("exact matches"), _exact, ratio),
            "label-accuracy": SumMeasure(Metric("label accuracy"), _labels_right, ratio),
        }

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are `(n, labels)`, of the shape of the targets."""
        fits = targets is None or outputs.shape == targets.shape
        if outputs.dim() != 2 or not outputs.is_floating_point() or not fits:
            told = "" if targets is None else f" for targets {tuple(targets.shape)}"
            raise DataError(
                f"Outputs of multilabel networks must be (n, labels){told}, but the network "
                f"returned {tuple(outputs.shape)}; give the targets that belong to it."
            )

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError unless targets are zeros and ones, a row a sample."""
        super().check_labels(labels, name)
        if labels is not None and (
            labels.dim() != 2 or not bool(((labels == 0) | (labels == 1)).all())
        ):
            raise DataError(
                f"{name}: targets of multilabel networks must be (N, labels) of zeros and ones, "
                f"but got shape {tuple(labels.shape)} from {labels.min().item():.4g} to "
                f"{labels.max().item():.4g}; give a column a label (labels[:, None] of one)."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the binary cross-entropy in nats, averaged over labels."""
        wanted = targets.to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(1)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns the mean over labels of p log(p / q) + (1 - p) log((1 - p) / (1 - q))."""
        p = dense.sigmoid()
        there = p * (F.logsigmoid(dense) - F.logsigmoid(outputs))
        gone = (1 - p) * (F.logsigmoid(-dense) - F.logsigmoid(-outputs))
        return (there + gone).mean(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the cross-entropy of labels drawn from the network's own probabilities."""
        drawn = torch.bernoulli(outputs.detach().sigmoid().cpu(), generator=generator).to(outputs)
        total: Tensor = F.binary_cross_entropy_with_logits(outputs, drawn, reduction="sum")
        scaled: Tensor = total / outputs.shape[1] ** 0.5
        return scaled

    def decisions(self, outputs: Tensor) -> Tensor:
        """Returns 1 where a logit is positive."""
        return (outputs > 0).long()

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Returns the sigmoid."""
        return outputs.sigmoid()


def _counts(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    given, wanted = outputs > 0, targets > 0
    return torch.stack([(given & wanted).sum(1), given.sum(1), wanted.sum(1)], 1)


def _exact(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    right = ((outputs > 0) == (targets > 0)).all(1)
    return torch.stack([right, torch.ones_like(right)], 1)


def _labels_right(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    right = (outputs > 0) == (targets > 0)
    return torch.stack([right.sum(1), torch.full_like(right.sum(1), right.shape[1])], 1)
