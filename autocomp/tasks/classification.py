"""Classification: accuracy, cross-entropy, and how far outputs are from the dense network's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.metric import ACCURACY, Metric
from autocomp.errors import DataError
from autocomp.tasks.base import Task
from autocomp.tasks.measure import Measure, SumMeasure


class Classification(Task):
    """One class out of several for each sample: logits `(n, classes)`, labels `(n,)`.

    Metrics: accuracy (top-1), top5. Loss: cross-entropy in nats. Divergence:
    KL(dense || compressed) in nats; unlike the cross-entropy on training images, which the network
    has memorised, it is zero only where nothing changed.
    """

    name: ClassVar[str] = "classification"
    temperature: ClassVar[float] = 4.0

    def measures(self) -> Mapping[str, Measure]:
        """Returns accuracy and top5."""
        return {
            "accuracy": SumMeasure(ACCURACY, _right, ratio),
            "top5": SumMeasure(Metric("top-5 accuracy"), _among_five, ratio),
        }

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are `(n, classes)` and every label is below `classes`."""
        n = len(outputs) if targets is None else len(targets)
        classes = logits_matrix(outputs, n).shape[1]
        top = -1 if targets is None else int(targets.max())
        if top >= classes:
            raise DataError(
                f"Every label must be below the network's {classes} outputs, but got {top}; "
                + (
                    "a network with one logit is task=multilabel with labels[:, None]."
                    if classes == 1
                    else "give the data that belong to this network."
                )
            )

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError unless labels are whole numbers from 0, one a sample."""
        super().check_labels(labels, name)
        if labels is None:
            return
        if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(
                f"{name}: labels must be (N,) integers, but got shape {tuple(labels.shape)} of "
                f"{labels.dtype}. One class number a sample: labels.argmax(1) if one-hot; for "
                "other targets name the task (regression, multilabel, segmentation, ...)."
            )
        if labels.min() < 0:
            raise DataError(
                f"{name}: labels must not be negative, but one is {int(labels.min())}. "
                "Drop the samples without a label; count classes from 0."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy in nats."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns KL(dense || compressed) in nats."""
        return kullback_leibler(outputs, dense).sum(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the cross-entropy of classes drawn from the network's own softmax."""
        drawn = torch.multinomial(outputs.detach().softmax(1).cpu(), 1, generator=generator)
        return F.cross_entropy(outputs, drawn[:, 0].to(outputs.device), reduction="sum")

    def decisions(self, outputs: Tensor) -> Tensor:
        """Returns the classes of largest logit."""
        return outputs.argmax(1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Returns the softmax."""
        return outputs.softmax(1)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns for each sample whether its top-1 prediction is right."""
    return logits.argmax(1) == labels


def logits_matrix(logits: object, n: int) -> Tensor:
    """Returns `logits` themselves; DataError unless they are `(n, classes)`."""
    if (
        isinstance(logits, Tensor)
        and logits.layout == torch.strided
        and not logits.is_complex()
        and logits.dim() == 2
        and len(logits) == n
    ):
        return logits
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    raise DataError(
        f"The network must return logits of shape (n, classes), but returned {shape} for "
        f"{n} samples; wrap it so that it does, or name what it is for with `task` "
        "(regression, segmentation, multilabel, embedding, language-model)."
    )


def kullback_leibler(outputs: Tensor, dense: Tensor, axis: int = 1) -> Tensor:
    """Returns the summands of KL(dense || compressed) over the classes, which lie along an axis."""
    return F.kl_div(
        F.log_softmax(outputs, axis), F.log_softmax(dense, axis), log_target=True, reduction="none"
    )


def ratio(sums: Tensor) -> Tensor:
    """Returns the first sum over the second."""
    return sums[0] / sums[1]


def _right(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    right = is_right(outputs, targets)
    return torch.stack([right, torch.ones_like(right)], 1)


def _among_five(outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
    best = outputs.topk(min(5, outputs.shape[1]), 1).indices
    right = (best == targets[:, None]).any(1)
    return torch.stack([right, torch.ones_like(right)], 1)
