"""Segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.core.metric import Metric
from autocomp.errors import DataError
from autocomp.tasks.base import Task
from autocomp.tasks.classification import kullback_leibler, ratio
from autocomp.tasks.measure import Measure, SumMeasure


class Segmentation(Task):
    """A class for each pixel: logits `(n, classes, ...)`, labels `(n, ...)` of the same places.

    Logits that are coarser than the labels are interpolated to their size, as is usual. Metrics:
    miou (intersection over union, averaged over the classes that occur), pixel-accuracy. Loss:
    cross-entropy in nats, averaged over a sample's pixels. Divergence: KL(dense || compressed) in
    nats, averaged over its pixels.

    Args:
        metric: what leads, see `Task`.
        output: name of the entry that counts, see `Task`.
        ignore: label of pixels that do not count; negative labels never do.
    """

    name: ClassVar[str] = "segmentation"
    temperature: ClassVar[float] = 4.0

    def __init__(self, metric: Any = "", output: str = "", ignore: int = 255) -> None:
        if not isinstance(ignore, int) or isinstance(ignore, bool):
            raise DataError(f"`ignore` must be a whole number, but got {ignore!r}; 255 is usual.")
        self.ignore = ignore
        super().__init__(metric, output)

    def measures(self) -> Mapping[str, Measure]:
        """Returns miou and pixel-accuracy."""
        return {
            "miou": SumMeasure(Metric("mean IoU"), self._overlaps, _mean_iou),
            "pixel-accuracy": SumMeasure(Metric("pixel accuracy"), self._right, ratio),
        }

    def check(self, outputs: Tensor, targets: Tensor | None) -> None:
        """Raises DataError unless outputs are `(n, classes, ...)` and labels of these places."""
        wanted = 4 if targets is None else targets.dim() + 1
        if outputs.dim() < 3 or outputs.dim() != wanted or not outputs.is_floating_point():
            told = "" if targets is None else f" for labels {tuple(targets.shape)}"
            if targets is not None and targets.dim() == outputs.dim() > 2:
                told += " (squeeze(1) labels with a channel, argmax(1) one-hot ones)"
            raise DataError(
                f"A segmentation's outputs must be (n, classes, height, width){told}, but the "
                f"network returned {tuple(outputs.shape)}; give the labels that belong to it, or "
                "name the output that counts with `output`."
            )
        if targets is None:
            return
        counted = targets[(targets >= 0) & (targets != self.ignore)]
        top = int(counted.max()) if len(counted) else -1
        if top >= outputs.shape[1]:
            raise DataError(
                f"Every label must be below the network's {outputs.shape[1]} classes, but got "
                f"{top}; give the data that belong to this network, or name the label that does "
                "not count with `ignore`."
            )

    def check_labels(self, labels: Tensor | None, name: str) -> None:
        """Raises DataError unless labels are whole numbers, one a pixel."""
        super().check_labels(labels, name)
        if labels is None:
            return
        if labels.dim() < 2 or labels.is_floating_point():
            raise DataError(
                f"{name}: labels of a segmentation must be (N, height, width) integers, but got "
                f"shape {tuple(labels.shape)} of {labels.dtype}; give one class number a pixel."
            )
        if not bool(self._counts(labels).any()):
            raise DataError(
                f"{name}: labels of a segmentation must count some pixels, but all are "
                f"{self.ignore} or negative; give class numbers, or another `ignore`."
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the cross-entropy in nats, averaged over the pixels that count."""
        counts = self._counts(targets)
        losses = F.cross_entropy(_sized(outputs, targets), targets * counts, reduction="none")
        total: Tensor = (losses * counts).flatten(1).sum(1)
        return total / counts.flatten(1).sum(1).clamp(min=1)

    def divergence(self, outputs: Tensor, dense: Tensor) -> Tensor:
        """Returns KL(dense || compressed) in nats, averaged over pixels."""
        return kullback_leibler(outputs, dense).sum(1).flatten(1).mean(1)

    def drawn_loss(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Returns the cross-entropy of drawn classes over the root of the number of pixels."""
        flat = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])
        drawn = torch.multinomial(flat.detach().softmax(1).cpu(), 1, generator=generator)
        pixels = len(flat) / len(outputs)
        loss = F.cross_entropy(flat, drawn[:, 0].to(flat.device), reduction="sum")
        scaled: Tensor = loss / pixels**0.5
        return scaled

    def _counts(self, targets: Tensor) -> Tensor:
        return (targets >= 0) & (targets != self.ignore)

    def _overlaps(self, outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
        """Returns per sample and class: pixels of both, predicted pixels, labelled pixels."""
        classes, counts = outputs.shape[1], self._counts(targets)
        chosen = _sized(outputs, targets).argmax(1)
        n = len(chosen)
        sample = torch.arange(n, device=chosen.device).reshape(-1, *[1] * (chosen.dim() - 1))

        def per_class(values: Tensor, where: Tensor) -> Tensor:
            places = (sample * classes + values)[where]
            return torch.bincount(places, minlength=n * classes).reshape(n, classes)

        both = per_class(chosen, counts & (chosen == targets))
        return torch.cat([both, per_class(chosen, counts), per_class(targets, counts)], 1)

    def _right(self, outputs: Tensor, targets: Any, dense: Tensor) -> Tensor:
        counts = self._counts(targets)
        right = (_sized(outputs, targets).argmax(1) == targets) & counts
        return torch.stack([right.flatten(1).sum(1), counts.flatten(1).sum(1)], 1)

    def decisions(self, outputs: Tensor) -> Tensor:
        """Returns the classes of largest logit."""
        return outputs.argmax(1)


def _sized(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape[2:] == targets.shape[1:]:
        return outputs
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[outputs.dim()]
    return F.interpolate(outputs, targets.shape[1:], mode=mode, align_corners=False)


def _mean_iou(sums: Tensor) -> Tensor:
    both, predicted, labelled = sums.reshape(3, -1)
    union = predicted + labelled - both
    occurs = union > 0
    return (both[occurs] / union[occurs]).mean() if bool(occurs.any()) else sums.sum() * 0
