"""Which tensors a network may hold: those that can be copied, compared and written to a file."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autocomp.core.dtypes import STORED
from autocomp.errors import ModelError


def check_tensors(model: nn.Module) -> None:
    """Checks every parameter and buffer.

    Raises:
        ModelError: for one without memory, in another layout than strided, of a type that files do
            not hold, or a parameter with numbers that are not finite.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        reason = _reason(tensor)
        if reason:
            raise ModelError(
                f"The network must hold plain tensors, but {name!r} is {reason}; convert it first."
            )
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(
                f"The network's weights must be finite, but {name!r} holds NaN or infinity; "
                "give the weights of a training that converged."
            )


def _reason(tensor: Tensor) -> str:
    """Returns what is unusual about a tensor; "" for a plain one."""
    if is_lazy(tensor):
        return ""  # the analysis says which layer is lazy
    if tensor.is_meta:
        return "on the meta device, which holds no numbers"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"in the layout {tensor.layout}"
    if tensor.is_quantized:
        return f"quantized by torch ({tensor.dtype})"
    return "" if tensor.dtype in STORED else f"of {tensor.dtype}"
