"""The grid of scales: eight steps an octave, each a bfloat16 number, so that a file names it.

Scale number k is `mantissa[k mod 8] * 2**(k div 8)`, where the eight mantissas are 2^(j/8) rounded
to bfloat16's eight bits. A scale that is off by half a grid step (4.4 %) raises the squared error
of 2 to 4 bits by 0.5 to 1.4 % (bell-shaped weights); its code costs 3 to 5 bits instead of 16.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MANTISSAS = (128, 140, 152, 166, 181, 197, 215, 235)
"""round(128 * 2**(j / 8)) for j from 0 to 7: bfloat16's eight significant bits."""
LEAST, LARGEST = -126 * 8, 128 * 8 - 1
"""Codes of the least normal number, 2**-126, and of the largest scale, 235 / 128 * 2**127."""

_OCTAVE = len(MANTISSAS)


def round_scale(step: Tensor) -> Tensor:
    """Returns the grid value nearest to each step in the log domain, float32, same shape.

    Args:
        step: positive numbers; below 2**-126 the least grid value stands for them.
    """
    low, high = _around(step)
    # in float64, where the product of two float32 numbers is exact: no machine's `log` decides
    near_low = step.double().square() < low.double() * high.double()
    return torch.where(near_low, low, high)


def round_scale_up(step: Tensor) -> Tensor:
    """Returns the least grid value that is not below each step, float32, same shape.

    Steps beyond the largest grid value, 3.1e38, get that value.
    """
    low, high = _around(step)
    return torch.where(low >= step, low, high)


def scale_codes(scale: Tensor) -> NDArray[np.int32] | None:
    """Returns the grid numbers of a scale tensor (flattened); None if one is not on the grid."""
    values = scale.detach().to("cpu", torch.float32).reshape(-1)
    if not bool((torch.isfinite(values) & (values >= 2.0**-126)).all()):
        return None
    bits = values.contiguous().view(torch.int32)
    # float32: 8 bits of exponent (offset 127), then 23 of which bfloat16 keeps the first 7
    mantissa = (bits & 0x7FFFFF) | 0x800000
    table = torch.tensor(MANTISSAS, dtype=torch.int32) << 16
    index = torch.searchsorted(table, mantissa).clamp(max=_OCTAVE - 1)
    if not torch.equal(table[index], mantissa):
        return None
    codes = ((bits >> 23) - 127) * _OCTAVE + index
    return codes.to(torch.int32).numpy()


def grid_numbers(scale: Tensor) -> NDArray[np.int32]:
    """Returns the grid numbers of scales that `round_scale` made; ValueError for any other."""
    codes = scale_codes(scale)
    if codes is None:
        raise ValueError("a scale must be on the grid; round it first")
    return codes


def scale_from_codes(codes: NDArray[np.int32]) -> Tensor:
    """Returns the grid values of the numbers; ValueError for one outside the grid."""
    if len(codes) and not (codes.min() >= LEAST and codes.max() <= LARGEST):
        raise ValueError(f"`{LEAST} <= code <= {LARGEST}` must hold for a scale")
    return _values(torch.from_numpy(np.ascontiguousarray(codes, dtype=np.int32)))


def _values(codes: Tensor) -> Tensor:
    octave = torch.div(codes, _OCTAVE, rounding_mode="floor")
    table = torch.tensor(MANTISSAS, dtype=torch.int32, device=codes.device)
    bits = (octave + 127) << 23 | (table[(codes - octave * _OCTAVE).long()] - 128) << 16
    return bits.to(torch.int32).contiguous().view(torch.float32)


def _around(step: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the grid values on both sides of each step, the lower one not above it."""
    values = step.detach().to(torch.float32).clamp(2.0**-126, 3.4e38).contiguous()
    bits = values.view(torch.int32)
    table = torch.tensor(MANTISSAS, dtype=torch.int32, device=step.device) << 16
    mantissa = (bits & 0x7FFFFF) | 0x800000
    index = torch.searchsorted(table, mantissa.contiguous(), right=True) - 1
    low = ((bits >> 23) - 127) * _OCTAVE + index
    return _values(low.clamp(LEAST, LARGEST)), _values((low + 1).clamp(LEAST, LARGEST))
