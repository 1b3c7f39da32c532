"""The last step of a training: codes that meet the limit exactly, at the least damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.rate import code_lengths
from autocomp.training.trainable import Latent

_HALVINGS = 24
_DEAREST = 1e9
"""Price of a bit at which nothing else counts."""


@torch.no_grad()
def fit_codes(
    weights: Sequence[Latent],
    importance: Mapping[str, Tensor],
    length: Callable[[], int],
    limit: int,
) -> int:
    """Moves latents onto codes whose file is no longer than a limit.

    Each latent u takes the code k, the one below, the one above, or the next towards zero, that
    minimises h (u - k)^2 + mu R(k), where R is the code's length (`rate.code_lengths`) and h how
    much the loss minds: the mean square of its gradient. mu is the least that meets the limit.

    Args:
        weights: the weights; their latents are changed, to whole numbers.
        importance: name -> h; 1 where it is missing.
        length: returns the file's length, in bytes, as the latents are now.
        limit: the largest that is allowed.

    Returns:
        The length.

    Raises:
        TrainingError: if even the cheapest codes are too long.
    """
    before = None
    while True:
        found = _fit_once(weights, importance, length, limit)
        if found <= limit:
            return found
        if found == before:
            raise TrainingError(
                f"The trained network's file must have at most {limit} bytes, but has {found} with "
                "the cheapest codes; train with fixed masks."
            )
        before = found  # no code goes further than to its neighbour at once


def _fit_once(
    weights: Sequence[Latent],
    importance: Mapping[str, Tensor],
    length: Callable[[], int],
    limit: int,
) -> int:
    """Moves each latent to one of the nearest codes; returns the length, if need be too long."""
    free = [weight.latent.detach().clone() for weight in weights]
    lengths = []
    for weight in weights:
        codes = weight.form.codes(weight.latent)
        lengths.append(code_lengths(codes, weight.form.low, weight.form.high))

    def take(mu: float) -> int:
        for weight, u, bits in zip(weights, free, lengths, strict=True):
            h = importance.get(weight.name)
            weight.latent.copy_(_best(weight, u, bits, mu, h))
        return length()

    found = take(0.0)
    if found <= limit:
        return found
    low, high = 0.0, 1e-6
    while (found := take(high)) > limit:
        if high > _DEAREST:
            return found
        low, high = high, high * 4
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5 if low else high / 4
        if take(middle) > limit:
            low = middle
        else:
            high = middle
        if low and high / low < 1.001:
            break
    return take(high)


def _best(weight: Latent, u: Tensor, bits: Tensor, mu: float, h: Tensor | None) -> Tensor:
    """Returns each latent's best code at a price of `mu` a bit."""
    form = weight.form
    if mu == 0 or form.signs:  # signs cost the same
        return form.codes(u)
    near = form.codes(u)
    below = u.floor().clamp(form.low, form.high)
    above = u.ceil().clamp(form.low, form.high)
    inward = near - torch.sign(near)
    scale = torch.ones_like(u) if h is None else h
    best = near
    cost = scale * (u - near).square() + mu * bits[(near - form.low).long()]
    for code in (below, above, inward):
        other = scale * (u - code).square() + mu * bits[(code - form.low).long()]
        best = torch.where(other < cost, code, best)
        cost = torch.minimum(other, cost)
    return best if form.mask is None else best * form.mask
