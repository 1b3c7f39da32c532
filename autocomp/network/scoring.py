"""Scoring a network on a split, and its logits on the calibration images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.data.split import Split
from autocomp.errors import AutocompError, DataError
from autocomp.plugins.imports import describe

_KEEP_BYTES = 1 << 29
"""Batches up to this size together are prepared once and kept."""
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


class Batches:
    """A split cut into normalised batches on a device, channels last where that applies."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._split = split
        self._dtype = dtype
        self._batch_size = batch_size
        self._device = device
        self._kept: list[tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._split)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        small = self._split.images.numel() * 4 <= _KEEP_BYTES
        kept = []
        for start in range(0, len(self._split), self._batch_size):
            images, labels = self._split.batch(slice(start, start + self._batch_size))
            if images.is_floating_point():
                images = images.to(self._dtype)
            batch = (channels_last(images.to(self._device)), labels.to(self._device))
            if small:
                kept.append(batch)
            yield batch
        if small:
            self._kept = kept


def usable_device(name: str) -> torch.device:
    """Returns the device called `name`; AutocompError if torch cannot use it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:
        raise AutocompError(
            f"`device` must be one that torch can use, but {name!r} is not ({describe(error)}); "
            "use cpu."
        ) from None
    return device


def dtype_of(model: nn.Module) -> torch.dtype:
    """Returns the floating-point type of the model's parameters; float32 if it has none."""
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(floating, torch.float32)


def channels_last(tensor: Tensor) -> Tensor:
    """Returns a 4-dimensional tensor in channels-last memory order, any other unchanged."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def score(model: nn.Module, batches: Batches) -> Score:
    """Returns accuracy and cross-entropy of `model`, which must be in evaluation mode.

    Raises:
        DataError: if the outputs are not `(n, classes)` logits, or a label is not among them.
    """
    return total_score(predictions(model, batches))


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


def predictions(model: nn.Module, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields logits, in float32, and labels of each batch.

    Raises:
        DataError: as `score`.
    """
    with torch.inference_mode():
        for images, labels in batches:
            try:
                logits = model(images)
            except Exception as error:
                raise DataError(
                    f"The network must run on its data, but a batch of shape {tuple(images.shape)} "
                    f"raised {describe(error)}; check that the data fit the network."
                ) from error
            check_logits(logits, labels)
            yield logits.float(), labels


def check_logits(logits: object, labels: Tensor) -> None:
    """Raises DataError unless `logits` are `(n, classes)` and every label is below `classes`."""
    classes = _matrix(logits, len(labels)).shape[1]
    top = int(labels.max())
    if top >= classes:
        raise DataError(
            f"Every label must be below the network's {classes} outputs, but got {top}; "
            "give the data that belong to this network."
        )


def _matrix(logits: object, n: int) -> Tensor:
    if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == n:
        return logits
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    raise DataError(
        f"The network must return logits of shape (n, classes), but returned {shape} for "
        f"{n} samples; wrap it so that it does."
    )


def logits_of(model: nn.Module, batches: list[Tensor]) -> Tensor:
    """Returns the logits of all batches, in evaluation mode's arithmetic.

    Raises:
        DataError: if the outputs are not `(n, classes)`.
    """
    with torch.inference_mode():
        return torch.cat([_matrix(model(images), len(images)).float() for images in batches])


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
