"""One forward pass of a network that is not ours."""

from __future__ import annotations

from typing import Any

from torch import nn

from autocomp.core.structured import Inputs, Structured
from autocomp.errors import AutocompError, DataError, LayerError
from autocomp.plugins.imports import describe


def forward(
    model: nn.Module, inputs: Inputs | None, error: type[AutocompError] = LayerError,
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
        if isinstance(inputs, Structured):
            args, kwargs = inputs.arguments(model.forward)
            return model(*args, **kwargs)
        return model(inputs)
    except DataError:  # ours, of structured inputs or outputs
        raise
    except (Exception, SystemExit) as problem:  # the user's own code: it may raise anything
        raise error(
            f"The network must run on its {on}, but a batch of shape {_shape(inputs)} raised "
            f"{describe(problem)}; check that the data fit the network."
        ) from problem


def _shape(inputs: Inputs | None) -> str:
    if isinstance(inputs, Structured):
        return ", ".join(f"{name} {tuple(leaf.shape)}" for name, leaf in inputs.named())
    return str(None if inputs is None else tuple(inputs.shape))
