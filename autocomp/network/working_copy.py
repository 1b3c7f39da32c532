"""A copy of the user's network, which is never written to itself."""

from __future__ import annotations

import torch
from torch import nn

from autocomp.network.padded_encoders import unpacked
from autocomp.network.rebinding import copy_network
from autocomp.network.tensors import check_tensors


def working_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns a copy of `model` on `device`, in evaluation mode.

    What its functions hold of the original (a forward pass that a wrapper has replaced) is put in
    terms of the copy; `faithful.check_copy` proves that nothing was left out.

    Raises:
        ModelError: if the network cannot be copied, or holds tensors that no file does.
    """
    check_tensors(model)
    return unpacked(copy_network(model).to(device).eval())
