"""Weights that stay in their file's form while they are trained: codes, zeros, scales.

A parametrization of torch (`torch.nn.utils.parametrize`): the network's weight is computed from a
latent tensor, and any optimizer trains that.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.artifacts.scales import round_scale

_REACH = 0.499
"""How far beyond the outermost code a latent may lie: it still rounds to it."""
_LEAST = 0.05
"""How far from 0, in units of the scale, a latent that stands for a sign starts at least."""
_NEAR = 0.45
"""How far from its code a latent starts at most, so that rounding it gives the code."""


class CodedWeight(nn.Module):
    """A weight `scale * round(latent)`, whose latents are numbers in units of a code.

    Rounding passes gradients as if it were not there (straight through, Bengio et al. 2013,
    arXiv:1308.3432); at the ends of the codes' range only those that lead back into it.

    Args:
        codes: whole numbers, the weight's shape.
        scale: float32, broadcasts over the codes.
        low: the least code.
        high: the largest code.
        free: whether codes of 0 may become others. Else a mask keeps them, as it does for signs.
        signs: whether codes are -1 and 1 alone, where the mask keeps no zero.
        learned: whether the scales are trained, too, on their grid: `scale * exp(log_scale)`,
            rounded (learned step sizes, Esser et al. 2020, arXiv:1902.08153).
    """

    scale: Tensor
    mask: Tensor | None
    log_scale: Tensor | None

    def __init__(
        self, codes: Tensor, scale: Tensor, low: int, high: int, free: bool = False,
        learned: bool = False, signs: bool = False, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.low, self.high, self.signs, self.dtype = low, high, signs, dtype
        self.register_buffer("scale", scale.detach().float().clone())
        self.register_buffer("mask", None if free and not signs else codes != 0)
        made = nn.Parameter(torch.zeros_like(self.scale)) if learned else None
        self.register_parameter("log_scale", made)

    @property
    def bounds(self) -> tuple[float, float]:
        """The range that latents lie in."""
        return self.low - _REACH, self.high + _REACH

    def steps(self) -> Tensor:
        """Returns the scales, on their grid where they are trained."""
        if self.log_scale is None:
            return self.scale
        free = self.scale * self.log_scale.exp()
        return free + (round_scale(free) - free).detach()

    def codes(self, latent: Tensor) -> Tensor:
        """Returns the whole numbers that latents stand for; differentiable, straight through."""
        bounds = (-1.0, 1.0, True) if self.signs else (*self.bounds, False)
        rounded: Tensor = _Round.apply(latent, *bounds)  # type: ignore[no-untyped-call]
        return rounded if self.mask is None else rounded * self.mask

    def forward(self, latent: Tensor) -> Tensor:
        """Returns the weight: what a file with these codes and scales holds, to the last bit."""
        return (self.codes(latent) * self.steps()).to(self.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Returns latents of a weight."""
        found = (weight.detach().float() / self.steps().detach()).clamp(*self.bounds)
        return found.to(weight.dtype)  # torch takes no other at first

    def start(self, codes: Tensor, source: Tensor | None) -> Tensor:
        """Returns latents that round to `codes`, each as near to a source's weight as can be.

        A latent that starts at its code hardly ever leaves it; one that remembers on which side
        the dense weight lay does, where that helps.

        Args:
            codes: the file's codes.
            source: floating weights that the codes are a rounding of; None to start at the codes.
        """
        centre = codes.float()
        if source is None:
            return centre
        wanted = source.detach().float().to(centre.device) / self.scale
        if self.signs:  # a latent near 0 changes its sign
            return centre * (centre * wanted).clamp(_LEAST, 1)
        return torch.minimum(torch.maximum(wanted, centre - _NEAR), centre + _NEAR)


class MaskedWeight(nn.Module):
    """A floating weight some of whose numbers stay zero.

    Args:
        mask: true where a weight may be other than zero.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight with its zeros."""
        return weight * self.mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Returns the weight."""
        return weight


def straight_round(values: Tensor) -> Tensor:
    """Returns whole numbers, to the last bit; the gradient is that of the values."""
    rounded: Tensor = _Round.apply(values, -math.inf, math.inf, False)  # type: ignore[no-untyped-call]
    return rounded


class _Round(torch.autograd.Function):
    """Rounds to whole numbers within bounds; its gradient is one wherever a step may go."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float, signs: bool) -> Tensor:
        ctx.save_for_backward(values)
        ctx.low, ctx.high = low, high
        if signs:
            return torch.where(values < 0, -torch.ones_like(values), torch.ones_like(values))
        return values.clamp(low, high).round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (values,), grad = ctx.saved_tensors, grads[0]
        # descent moves against the gradient
        stuck = ((values >= ctx.high) & (grad < 0)) | ((values <= ctx.low) & (grad > 0))
        return torch.where(stuck, torch.zeros_like(grad), grad), None, None, None
