"""The rate term: what the codes of the weights cost in the file, in the loss.

Codes move while a network is trained, and their entropy-coded length moves with them. Each layer's
codes are coded with the lengths R(k) = -log2 p(k) of their own frequencies p. With lambda bits R in
the loss, as in a rate-distortion choice (DeepCABAC, Wiedemann et al. 2020, arXiv:1907.11900), a
latent between the codes k and k + 1 gets the gradient lambda (R(k + 1) - R(k)). Lambda is steered
so that the whole stays within a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autocomp.training.trainable import Latent

_EVERY = 10
"""Steps between two counts of the codes."""
_STEEPEST = 12.0
"""Largest difference of two neighbouring codes' lengths, in bits."""
_PROPORTIONAL, _INTEGRAL = 3.0, 0.1
"""Of the controller, whose error is the share by which the bits are above the limit."""
_LEAST, _MOST = -0.02, 0.15
"""Range of lambda, in units of the gradients' size: more of it makes the codes collapse."""


def code_lengths(codes: Tensor, low: int, high: int) -> Tensor:
    """Returns -log2 of how often each of the codes `low` ... `high` stands, float32.

    Half a code is added to each count, so that one which is not used yet may be.
    """
    counts = torch.bincount((codes.reshape(-1) - low).long(), minlength=high - low + 1).float()
    return torch.log2(counts.sum() + 0.5 * len(counts)) - torch.log2(counts + 0.5)


class RateTerm:
    """Adds the rate's gradients to those of the loss, and steers them.

    Args:
        weights: the weights whose codes are counted.
        limit: bits that their codes may take.
    """

    def __init__(self, weights: Sequence[Latent], limit: float) -> None:
        self._weights, self.limit = list(weights), limit
        self._lengths = [torch.zeros(0)] * len(self._weights)
        self.bits = 0.0
        self.strength = 0.0
        self._sum = 0.0
        self._size = 0.0
        self._steps = 0
        self.count()

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs to go on."""
        return {
            "sum": self._sum, "size": self._size, "steps": self._steps, "bits": self.bits,
            "strength": self.strength, "lengths": [each.tolist() for each in self._lengths],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from an earlier state: with the lengths of its last count, too."""
        self._sum, self._size = state["sum"], state["size"]
        self._steps, self.strength = int(state["steps"]), state["strength"]
        self.bits = state["bits"]
        self._lengths = [
            torch.tensor(each, dtype=torch.float32, device=old.device)
            for each, old in zip(state["lengths"], self._lengths, strict=True)
        ]

    def count(self) -> None:
        """Counts the codes."""
        bits = 0.0
        for i, weight in enumerate(self._weights):
            codes = weight.form.codes(weight.latent.detach())
            low, high = weight.form.low, weight.form.high
            lengths = code_lengths(codes, low, high)
            self._lengths[i] = lengths
            bits += float(lengths[(codes - low).long()].sum(dtype=torch.float64))
        self.bits = bits

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Adds to the latents' gradients; call it after `backward`."""
        self._measure()
        if self._steps % _EVERY == 0:
            self.count()
            self._steer()
        self._steps += 1
        if not self.strength:
            return
        for weight, lengths in zip(self._weights, self._lengths, strict=True):
            if weight.latent.grad is None:
                continue
            slope = self._slopes(weight, lengths)
            weight.latent.grad.add_(slope, alpha=self.strength * self._size)

    def _slopes(self, weight: Latent, lengths: Tensor) -> Tensor:
        """Returns how the code's length changes with each latent, in bits."""
        if len(lengths) < 2 or weight.form.signs:
            return torch.zeros_like(weight.latent)
        steps = (lengths[1:] - lengths[:-1]).clamp(-_STEEPEST, _STEEPEST)
        below = (weight.latent.floor() - weight.form.low).clamp(0, len(steps) - 1)
        slope = steps[below.long()]
        return slope if weight.form.mask is None else slope * weight.form.mask

    def _measure(self) -> None:
        """Follows the size of the loss's gradients, root mean square over all latents."""
        total, n = 0.0, 0
        for weight in self._weights:
            if weight.latent.grad is not None:
                total += float(weight.latent.grad.square().sum())
                n += weight.latent.numel()
        size = (total / max(1, n)) ** 0.5
        self._size = size if not self._size else 0.98 * self._size + 0.02 * size

    def _steer(self) -> None:
        excess = self.bits / self.limit - 1
        self._sum = min(max(self._sum + _INTEGRAL * excess, _LEAST), _MOST)
        self.strength = min(max(self._sum + _PROPORTIONAL * excess, _LEAST), _MOST)
