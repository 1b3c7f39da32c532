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
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"The network must be of Python modules, but {name or 'it'!r} is scripted or "
                "traced; give the module that it was made from."
            )
    held = model.state_dict()
    starts: dict[tuple[int, torch.Size], str] = {}
    for name, parameter in model.named_parameters():
        if name not in held:
            raise ModelError(
                f"The network's state_dict must hold its parameters by their names, but misses "
                f"{name!r}; keep the names."
            )
        if is_lazy(parameter) or not parameter.numel() or _reason(parameter):
            continue
        start = parameter.data_ptr(), parameter.shape
        other = starts.setdefault(start, name)
        if other != name:
            raise ModelError(
                f"Weights that are one must be one Parameter, but {name!r} and {other!r} share "
                "memory only; tie the modules, as in b.weight = a.weight."
            )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        reason = _reason(tensor)
        if reason:
            raise ModelError(
                f"The network must hold plain tensors, but {name!r} is {reason}; convert it first."
            )
    for name, parameter in model.named_parameters():
        if not is_lazy(parameter) and not bool(torch.isfinite(parameter).all()):
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
    if tensor.is_inference():
        return "made under torch.inference_mode, and cannot be written to"
    if tensor.is_quantized:
        return f"quantized by torch ({tensor.dtype})"
    return "" if tensor.dtype in STORED else f"of {tensor.dtype}"
