"""Gradients of the loss with respect to weights: their mean, or their mean square."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autocomp.compression.saliency.loss import (
    CHUNK,
    LOSSES,
    Batch,
    chunks,
    labels_or_decisions,
    outputs_of,
)
from autocomp.network.modes import evaluation_mode


def weight_gradients(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batches: Sequence[Batch],
    loss: str = "cross_entropy",
    squared: bool = False,
) -> dict[str, Tensor]:
    """Returns the gradient of the mean loss, or the mean squared gradient of single examples.

    `g = dE[L]/dw`, or the diagonal of the empirical Fisher information `h = E[(dL/dw)^2]`, for
    which every example is a backward pass of its own. Parameters that the loss does not depend on
    have gradient zero.

    Args:
        model: run in evaluation mode; left as it was.
        parameters: some of its parameters, by any name.
        batches: examples.
        loss: a name in `LOSSES`.
        squared: whether to return `h` in place of `g`.

    Raises:
        DataError: if there is no example or labels do not fit.
        ModelError: if the network gives no scores.
    """
    names = list(parameters)
    wanted = [parameters[name] for name in names]
    total = [torch.zeros_like(p, dtype=torch.float32) for p in wanted]
    count = 0
    with evaluation_mode(model), torch.enable_grad(), only_these(model, wanted):
        for inputs, labels in chunks(model, batches, 1 if squared else CHUNK):
            scores = outputs_of(model, inputs)
            value = LOSSES[loss](scores, labels_or_decisions(scores, labels))
            found: Sequence[Tensor | None] = [None] * len(wanted)
            if value.requires_grad:
                found = torch.autograd.grad(value, wanted, allow_unused=True)
            for place, gradient in enumerate(found):
                if gradient is not None:
                    total[place] += gradient.square() if squared else gradient
            count += len(inputs)
    return {name: gradient / count for name, gradient in zip(names, total, strict=True)}


@contextmanager
def only_these(model: nn.Module, wanted: Sequence[nn.Parameter]) -> Iterator[None]:
    """Makes some parameters require gradients and all others not, and restores that afterwards."""
    before = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for p, _ in before:
            p.requires_grad_(False)
        for p in wanted:
            p.requires_grad_(True)
        yield
    finally:
        for p, value in before:
            p.requires_grad_(value)
