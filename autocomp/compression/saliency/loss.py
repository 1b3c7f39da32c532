"""The loss whose gradients a criterion looks at, and the examples it is taken on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.core.structured import Inputs
from autocomp.errors import DataError, ModelError

Batch = tuple[Inputs, Tensor | None]
"""Inputs `(n, ...)` and class numbers `(n,)`; for None the network's own decisions stand in."""
CHUNK = 32
"""Examples whose activations are held at once."""


def chunks(model: nn.Module, batches: Sequence[Batch], size: int = CHUNK) -> Iterator[Batch]:
    """Yields the batches in pieces of at most `size` examples, on the model's device.

    Raises:
        DataError: if there is no example, or labels and inputs differ in number.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    empty = True
    for inputs, labels in batches:
        if labels is not None and len(labels) != len(inputs):
            raise DataError(
                f"A batch must have one label an input, but got {len(labels)} labels for "
                f"{len(inputs)} inputs; pair them up, or give None for all."
            )
        for start in range(0, len(inputs), size):
            empty = False
            some = None if labels is None else labels[start : start + size].to(device)
            yield inputs[start : start + size].to(device), some
    if empty:
        raise DataError(
            "This criterion looks at activations or gradients and needs at least one example, but "
            "got none; give calibration batches, or use a criterion of the weights such as l1."
        )


def outputs_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """Returns `model(inputs)`, the scores `(n, classes, ...)`.

    Raises:
        ModelError: if it is something else.
    """
    found = model(inputs)
    if not isinstance(found, Tensor) or found.dim() < 2:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"The network must return scores of shape (n, classes, ...), but got {what}; wrap it "
            "so that it does."
        )
    return found


def labels_or_decisions(scores: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the labels, or where there are none the classes of largest score.

    Raises:
        DataError: if labels are not whole numbers of classes, of the shape of the decisions.
    """
    decisions = scores.detach().argmax(1)
    if labels is None:
        return decisions
    classes = scores.shape[1]
    whole = not labels.is_floating_point() and labels.shape == decisions.shape
    if not whole or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(
            f"Labels must be whole numbers from 0 to {classes - 1} of shape "
            f"{tuple(decisions.shape)}, but got {labels.dtype} of shape {tuple(labels.shape)} "
            f"from {labels.min().item()} to {labels.max().item()}; give those, or None."
        )
    return labels.long()


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns `-log softmax(scores)[label]`, summed over the examples."""
    return F.cross_entropy(scores, labels, reduction="sum")


def absolute_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns `sum |t - o|` with `t` one-hot and `o` the softmax, summed over the examples.

    The error of skeletonization: unlike a squared one, its gradient does not vanish as `o` nears
    `t` (Mozer and Smolensky 1988).
    """
    wanted = F.one_hot(labels, scores.shape[1]).movedim(-1, 1)
    return (wanted - scores.softmax(1)).abs().sum()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "absolute": absolute_error,
}
