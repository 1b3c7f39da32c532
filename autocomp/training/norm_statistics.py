"""Batch norms of a trained network, put in terms of what they really get.

A file rounds a batch norm's gain and shift to a byte each (`artifacts/fused_norm.py`), and weighs
the gain's error by how much a channel varies; what it moves a channel's mean by, the shift takes
back.
A network from a file has forgotten both: its statistics are 0 and 1. Measured anew on some inputs,
with weight and bias changed so that the function stays, they come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.structured import Inputs


@torch.no_grad()
def restate_norms(network: nn.Module, names: Iterable[str], inputs: Sequence[Inputs]) -> None:
    """Gives batch norms the statistics of their inputs, and parameters that keep the function.

    Args:
        network: in evaluation mode; changed in place.
        names: the batch norms.
        inputs: batches.
    """
    found = {name: _Moments() for name in names}
    handles = [
        network.get_submodule(name).register_forward_pre_hook(moments)
        for name, moments in found.items()
    ]
    try:
        for batch in inputs:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    for name, moments in found.items():
        norm: Any = network.get_submodule(name)
        if not moments.n:
            continue  # it was never called
        mean, var = moments.mean.to(norm.weight), moments.var.to(norm.weight)
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(slope * (mean - norm.running_mean))
        norm.weight.copy_(slope * (var + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)


class _Moments:
    """A forward pre-hook that adds up each channel's moments."""

    def __init__(self) -> None:
        self.n = 0
        self._sum = self._square = torch.zeros(())

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        given: Tensor = inputs[0].detach()
        rows = given.double().transpose(0, 1).flatten(1)
        self.n += rows.shape[1]
        self._sum = self._sum + rows.sum(1).cpu()
        self._square = self._square + rows.square().sum(1).cpu()

    @property
    def mean(self) -> Tensor:
        """The mean of each channel."""
        return self._sum / self.n

    @property
    def var(self) -> Tensor:
        """The variance of each channel."""
        return (self._square / self.n - self.mean.square()).clamp(min=0)
