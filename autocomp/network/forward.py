"""One forward pass of a network that is not ours."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from autocomp.errors import AutocompError, LayerError
from autocomp.plugins.imports import describe


def forward(
    model: nn.Module, inputs: Tensor | None, error: type[AutocompError] = LayerError,
    on: str = "example inputs",
) -> Any:  # fmt: skip
    """Returns what the network makes of a batch; gradients are the caller's business.

    Args:
        model: the network, in the mode that is wanted.
        inputs: a batch.
        error: the class of the error.
        on: what the inputs are, for the message.

    Raises:
        AutocompError: of class `error`, if the network raises anything.
    """
    try:
        return model(inputs)
    except (Exception, SystemExit) as problem:  # the user's own code: it may raise anything
        shape = None if inputs is None else tuple(inputs.shape)
        raise error(
            f"The network must run on its {on}, but a batch of shape {shape} raised "
            f"{describe(problem)}; check that the data fit the network."
        ) from problem
