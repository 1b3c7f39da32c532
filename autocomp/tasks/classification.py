"""Classification: accuracy, cross-entropy, and how far outputs are from the dense network's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import DataError

_CONFIDENCE = 2.4
"""Standard errors of a paired difference: one-sided 5 % over ten looks at growing sets (Pocock)."""
WORST_LOSS = 1e9
"""Stands for a loss that is not finite."""


@dataclass(frozen=True)
class Score:
    """A network's quality on `n` samples.

    Attributes:
        accuracy: share of right top-1 predictions, in [0, 1].
        loss: mean cross-entropy in nats.
        n: number of samples.
    """

    accuracy: float
    loss: float
    n: int

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy: sqrt(p (1 - p) / n)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n)


def total_score(parts: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Returns the score of a split from the logits and labels of its batches."""
    right, loss, n = 0, 0.0, 0
    for logits, labels in parts:
        right += int(is_right(logits, labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        n += len(labels)
    mean = loss / n
    return Score(right / n, mean if math.isfinite(mean) else WORST_LOSS, n)


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns for each sample whether its top-1 prediction is right."""
    return logits.argmax(1) == labels


def is_behind(right: Tensor, best: Tensor) -> bool:
    """Whether one network's right predictions lie significantly behind another's, image by image.

    With a images that only the other gets right and b that only this one does:
    a - b > 2.4 sqrt(a + b): McNemar's test, strict enough to be repeated.

    Args:
        right: boolean `(n,)`: this network's.
        best: boolean `(n,)`: the other's.
    """
    lost, won = int((best & ~right).sum()), int((right & ~best).sum())
    return lost - won > _CONFIDENCE * math.sqrt(lost + won)


def check_logits(logits: object, labels: Tensor) -> None:
    """Raises DataError unless `logits` are `(n, classes)` and every label is below `classes`."""
    classes = logits_matrix(logits, len(labels)).shape[1]
    top = int(labels.max())
    if top >= classes:
        raise DataError(
            f"Every label must be below the network's {classes} outputs, but got {top}; "
            "give the data that belong to this network."
        )


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
        f"{n} samples; wrap it so that it does."
    )


def divergence(logits: Tensor, dense_logits: Tensor) -> float:
    """Returns the mean Kullback-Leibler divergence KL(dense || compressed) in nats.

    It needs no labels, and unlike the cross-entropy on training images, which the network has
    memorised, it is zero only where nothing changed.
    """
    value = float(
        F.kl_div(
            F.log_softmax(logits, 1), F.log_softmax(dense_logits, 1),
            log_target=True, reduction="batchmean",
        )
    )  # fmt: skip
    return value if math.isfinite(value) else WORST_LOSS
