"""Scoring a network on a split, and its logits on the calibration images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from autocomp.errors import DataError
from autocomp.network.batches import Batches
from autocomp.network.forward import forward
from autocomp.tasks.classification import Score, check_logits, logits_matrix, total_score


def score(model: nn.Module, batches: Batches) -> Score:
    """Returns accuracy and cross-entropy of `model`, which must be in evaluation mode.

    Raises:
        DataError: if the outputs are not `(n, classes)` logits, or a label is not among them.
    """
    return total_score(predictions(model, batches))


def predictions(model: nn.Module, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields logits, in float32, and labels of each batch.

    Raises:
        DataError: as `score`.
    """
    with torch.inference_mode():
        for images, labels in batches:
            logits = forward(model, images, DataError, "data")
            check_logits(logits, labels)
            yield logits.float(), labels


def logits_of(model: nn.Module, batches: list[Tensor]) -> Tensor:
    """Returns the logits of all batches, in evaluation mode's arithmetic.

    Raises:
        DataError: if the outputs are not `(n, classes)`.
    """
    with torch.inference_mode():
        return torch.cat([logits_matrix(model(images), len(images)).float() for images in batches])
