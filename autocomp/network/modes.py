"""Running a network in evaluation mode and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts every module of `model` into evaluation mode, and each back into its own afterwards."""
    before = [(module, module.training) for module in model.modules()]
    for module, _ in before:  # not `eval()`, in which a network may do more, as merge its weights
        module.training = False
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
