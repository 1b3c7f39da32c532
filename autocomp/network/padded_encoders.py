"""Transformer encoders of torch that pack padded texts: made to compute the same, unpacked.

In evaluation mode `nn.TransformerEncoder` turns inputs with a `src_key_padding_mask` into a nested
tensor, which most operations, and so whatever looks into the network, cannot take. Its layers give
the same without; only what stands at padded positions differs: zeros there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_NOTE = "_autocomp_unpacked"


class _Pads:
    """Puts zeros behind the last layer where the encoder would have left positions out."""

    def __init__(self) -> None:
        self._out: Tensor | None = None

    def before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Notes which positions an encoder would leave out."""
        given = dict(zip(("src", "mask", "src_key_padding_mask"), args, strict=False)) | kwargs
        src, out = given.get("src"), given.get("src_key_padding_mask")
        self._out = None
        if not isinstance(src, Tensor) or not isinstance(out, Tensor) or src.dim() != 3:
            return
        if module.layers[0].training or given.get("mask") is not None or out.dtype != torch.bool:
            return
        kept = out.logical_not()
        lengths = kept.sum(1, keepdim=True)
        aligned = bool((kept == (torch.arange(kept.shape[1], device=kept.device) < lengths)).all())
        if aligned or not getattr(module, "mask_check", True):
            self._out = out

    def after(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """Puts the zeros."""
        out = self._out
        return None if out is None else output.masked_fill(out.unsqueeze(2), 0.0)


def unpacked(model: nn.Module) -> nn.Module:
    """Makes a network's encoders compute without nested tensors, in place; returns the network."""
    for module in model.modules():
        if not isinstance(module, nn.TransformerEncoder) or _NOTE in vars(module):
            continue
        if not getattr(module, "use_nested_tensor", False) or not len(module.layers):
            continue
        pads = _Pads()
        first = module.register_forward_pre_hook(pads.before, with_kwargs=True)
        last = module.layers[-1].register_forward_hook(pads.after)
        module.use_nested_tensor = False
        object.__setattr__(module, _NOTE, (first.id, last.id))
    return model


def packed_again(model: nn.Module) -> nn.Module:
    """Takes away what `unpacked` did, in place; returns the network."""
    for module in model.modules():
        ids = vars(module).pop(_NOTE, None)
        if ids is None or not isinstance(module, nn.TransformerEncoder):
            continue
        module.use_nested_tensor = True
        module._forward_pre_hooks.pop(ids[0], None)
        module._forward_pre_hooks_with_kwargs.pop(ids[0], None)
        module.layers[-1]._forward_hooks.pop(ids[1], None)
    return model
