"""Where a network runs, and in which numbers."""

from __future__ import annotations

import torch
from torch import nn

from autocomp.core.structured import AnyInputs, Structured
from autocomp.errors import AutocompError
from autocomp.plugins.imports import describe


def usable_device(name: str) -> torch.device:
    """Returns the device called `name`; AutocompError if torch cannot use it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
        if device.type == "meta":
            raise TypeError("it holds no numbers")
    except (RuntimeError, AssertionError, TypeError, ImportError, NotImplementedError) as error:
        raise AutocompError(
            f"`device` must be one that torch can use, but {name!r} is not ({describe(error)}); "
            "use cpu."
        ) from None
    return device


def of_type(inputs: AnyInputs, dtype: torch.dtype) -> AnyInputs:
    """Returns inputs that are numbers in the network's type; indices stay as they are."""
    if isinstance(inputs, Structured):
        return inputs.map(lambda leaf: of_type(leaf, dtype))
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def dtype_of(model: nn.Module) -> torch.dtype:
    """Returns the floating-point type of the model's parameters; float32 if it has none."""
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(floating, torch.float32)
