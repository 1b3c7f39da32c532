"""How far a batch's statistics are from those that a network's batch norms have kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.calibration.norms import batch_norms


class NormGap:
    """Hooks on batch norms that compare what comes in with what they saw in their training.

    The gap is the mean over channels, added over norms: ((m - mean) / s)^2 + (log v / var)^2 / 4,
    m and v the batch's mean and variance, s the kept deviation. In the kept statistics' own scale
    each norm counts alike, whatever its size. ZeroQ (Cai et al. 2020, arXiv:2001.00281) compares
    plain means and deviations.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self._terms: list[Tensor] = []
        self.norms = len(batch_norms(network))
        self._handles = [
            module.register_forward_pre_hook(self._note) for module in batch_norms(network).values()
        ]

    def take(self) -> Tensor:
        """Returns the gap of the forward pass since it was asked for last; 0 without norms."""
        found = torch.stack(self._terms).sum() if self._terms else torch.zeros(())
        self._terms = []
        return found

    def close(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _note(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0].transpose(0, 1).flatten(1)
        mean, var = seen.mean(1), seen.var(1, unbiased=False)
        kept = module.running_var + module.eps
        alive = module.running_var > 1e-8  # a dead channel has no scale
        level = (mean - module.running_mean).square() / kept
        spread = ((var + module.eps) / kept).log().square() / 4
        self._terms.append(((level + spread) * alive).sum() / alive.sum().clamp(min=1))
