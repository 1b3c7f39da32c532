"""What compression did to single predictions, on the search split."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.data.split import Split
from autocomp.errors import DataError, RunError
from autocomp.plugins.imports import optional_import

BINS = 10
MOST = 12
"""Samples that are shown."""
_FAR = 1e9


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy on the samples of one class.

    Attributes:
        label: the class.
        n: its samples.
        dense: accuracy of the dense network on them, in [0, 1].
        compressed: accuracy of the compressed network.
    """

    label: str
    n: int
    dense: float
    compressed: float


@dataclass(frozen=True)
class ConfidenceBin:
    """The samples whose confidence lies in one tenth of [0, 1].

    Attributes:
        n: how many.
        confidence: their mean largest probability; 0 if there are none.
        accuracy: share of right predictions among them; 0 if there are none.
    """

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How well a network's confidence matches its accuracy.

    Attributes:
        error: expected calibration error, sum_b n_b / n * |accuracy_b - confidence_b| over ten
            bins (Guo et al. 2017, arXiv:1706.04599).
        bins: the bins, the least confident first.
    """

    error: float
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True)
class ChangedSample:
    """A sample whose prediction changed much.

    Attributes:
        index: its place in the search split.
        label: its class.
        dense: the class that the dense network predicts, with its probability in `dense_p`.
        compressed: the class that the compressed network predicts, likewise.
        dense_p: in [0, 1].
        compressed_p: in [0, 1].
        divergence: KL(dense || compressed) of this sample, in nats.
        png: the image as base64-encoded PNG; "" where the sample is no image.
    """

    index: int
    label: str
    dense: str
    compressed: str
    dense_p: float
    compressed_p: float
    divergence: float
    png: str


@dataclass(frozen=True)
class Predictions:
    """Dense and compressed predictions side by side.

    Attributes:
        split: name of the split.
        n: its samples.
        agreement: share of samples for which both networks predict the same class.
        classes: accuracy of every class.
        dense: calibration of the dense network.
        compressed: calibration of the compressed network.
        changed: the samples of largest divergence, the largest first.
    """

    split: str
    n: int
    agreement: float
    classes: tuple[ClassAccuracy, ...]
    dense: Calibration
    compressed: Calibration
    changed: tuple[ChangedSample, ...]


def compare_predictions(split: Split, dense: Tensor, compressed: Tensor) -> Predictions:
    """Compares the predictions of two networks.

    Logits that are no numbers count as 0, infinite ones as the largest number.

    Args:
        split: the samples, in order.
        dense: logits `(n, classes)` of the dense network.
        compressed: logits `(n, classes)` of the compressed one.
    """
    labels = split.labels
    if labels is None:
        raise DataError(f"{split.name}: predictions are compared with labels, but there are none.")
    finite = [torch.nan_to_num(logits.cpu().double()) for logits in (dense, compressed)]
    logs = [F.log_softmax(logits, 1) for logits in finite]
    (dense_p, dense_top), (compressed_p, compressed_top) = (x.exp().max(1) for x in logs)
    apart = F.kl_div(logs[1], logs[0], log_target=True, reduction="none").sum(1)
    apart = torch.nan_to_num(apart, nan=_FAR, posinf=_FAR).clamp(0, _FAR)
    images = split.images if isinstance(split.images, Tensor) else None
    return Predictions(
        split=split.name,
        n=len(labels),
        agreement=float((dense_top == compressed_top).double().mean()),
        classes=tuple(
            ClassAccuracy(
                str(label),
                int((labels == label).sum()),
                float((dense_top == label)[labels == label].double().mean()),
                float((compressed_top == label)[labels == label].double().mean()),
            )
            for label in sorted(set(labels.tolist()))
        ),
        dense=calibration(dense_p, dense_top == labels),
        compressed=calibration(compressed_p, compressed_top == labels),
        changed=tuple(
            ChangedSample(
                index=i,
                label=str(int(labels[i])),
                dense=str(int(dense_top[i])),
                compressed=str(int(compressed_top[i])),
                dense_p=float(dense_p[i]),
                compressed_p=float(compressed_p[i]),
                divergence=float(apart[i]),
                png="" if images is None else png_of(images[i]),
            )
            for i in apart.argsort(descending=True, stable=True)[:MOST].tolist()
        ),
    )


def calibration(confidence: Tensor, right: Tensor) -> Calibration:
    """Returns how well confidence matches accuracy.

    Args:
        confidence: `(n,)`: largest probability of each sample, in [0, 1].
        right: boolean `(n,)`: whether its prediction is right.
    """
    place = (confidence * BINS).long().clamp(0, BINS - 1)
    bins, error = [], 0.0
    for b in range(BINS):
        here = place == b
        n = int(here.sum())
        mean = float(confidence[here].mean()) if n else 0.0
        accuracy = float(right[here].double().mean()) if n else 0.0
        bins.append(ConfidenceBin(n, mean, accuracy))
        error += n / max(1, len(right)) * abs(accuracy - mean)
    return Calibration(error, tuple(bins))


def png_of(image: Tensor) -> str:
    """Returns a stored image as base64-encoded PNG; "" if it is none.

    Images of bytes are shown as they are; others are stretched from their least to their largest
    value, because what they mean is not known.
    """
    pictures = optional_import("PIL.Image", "report", RunError)
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        return ""
    if image.dtype != torch.uint8:
        image = image.float()
        low, high = float(image.min()), float(image.max())
        image = ((image - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8)
    pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    buffer = io.BytesIO()
    pictures.fromarray(pixels.contiguous().numpy()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
