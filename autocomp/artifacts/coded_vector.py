"""A vector in one byte a number: evenly spaced, or by logarithms where that errs less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocomp.artifacts.scales import grid_numbers, round_scale, scale_from_codes

_TOP = 255
_STEPS = (-192, 63)
"""Grid numbers of the least and the largest step, 2**-24 and 235: one byte, float16's range."""
_COARSER, _FINER = 64, 24
"""Grid steps tried above and below the one that spans all values, eight an octave."""
_LOGARITHMIC = 255
"""Stands where the zero of evenly spaced codes stands, which is at most 254."""
_FINE = 1e-4
"""Squared error of evenly spaced codes, relative to the values, up to which no other is tried."""
_LEVELS = 127
"""Magnitudes of logarithmic codes; the largest is eight octaves above the step."""


Reals = NDArray[np.float64]

_GRID: Reals = (
    scale_from_codes(np.arange(_STEPS[0], _STEPS[1] + 1, dtype=np.int32)).double().numpy()
)


@dataclass(frozen=True)
class CodedVector:
    """Numbers as bytes.

    Evenly spaced, `step * (code - zero)`. Or, if `zero` is 255, a sign and a level l out of 127:
    `+-2**((l - 127) / 8) * 256 step`, on the grid of `compressors/scales.py`, and 0 at level 0.
    Those err by 4.4 % at most however far the magnitudes are apart (16 octaves); evenly spaced
    ones err less where all are of one size.

    Attributes:
        step: grid number of the step.
        zero: the code of the number 0, or 255.
        codes: unsigned bytes.
    """

    step: int
    zero: int
    codes: NDArray[np.uint8]

    @property
    def values(self) -> Tensor:
        """The numbers, float32 without rounding: 8 bits times 8 bits."""
        if self.zero != _LOGARITHMIC:
            even = (self.codes.astype(np.float64) - self.zero) * _GRID[self.step - _STEPS[0]]
            return torch.from_numpy(even).float()
        levels = (self.codes & _LEVELS).astype(np.int32)
        magnitudes = scale_from_codes(levels + (self.step + _COARSER - _LEVELS))
        signs = torch.from_numpy(np.where(self.codes > _LEVELS, -1.0, 1.0) * (levels > 0))
        return magnitudes * signs.float()

    @classmethod
    def fit(cls, values: Tensor, weights: Tensor) -> CodedVector:
        """Returns the codes with the least weighted squared error; exact for `fit(...).values`.

        Args:
            values: a vector; numbers that are not finite are clamped.
            weights: what the squared error of each value counts.
        """
        exact = np.nan_to_num(values.detach().cpu().double().numpy(), True, 0.0, 1e9, -1e9)
        counts = np.nan_to_num(weights.detach().cpu().double().numpy(), True, 1.0, 1e9, 0.0)
        coded = _may_be_coded(exact)
        even, error = cls._even(exact, counts, coded)
        # logarithms are for gains that lie octaves apart, or that they have made before
        if error == 0 or (not coded and error <= _FINE * ((exact * exact) @ counts)):
            return even
        logarithmic = cls._logarithmic(exact)
        other = logarithmic.values.double().numpy() - exact
        return even if error <= (other * other) @ counts else logarithmic

    @classmethod
    def _even(cls, exact: Reals, weights: Reals, coded: bool) -> tuple[CodedVector, float]:
        low, high = min(exact.min(), 0.0), max(exact.max(), 0.0)
        span = (high - low) / _TOP
        middle = int(np.searchsorted(_GRID, span))  # the least step that is not below
        # coarser steps err more, but for values that one made: it is found again
        coarser = _COARSER if coded else 0
        first, last = max(middle - _FINER, 0), min(middle + coarser, len(_GRID) - 1)
        steps = _GRID[first : last + 1][::-1, None]
        # where the range is cut, it is cut on both sides in proportion
        zeros = np.minimum(np.rint(-low / np.maximum(steps, span)), _LOGARITHMIC - 1)
        codes = np.rint(exact / steps)
        np.clip(codes, -zeros, _TOP - zeros, out=codes)
        errors = codes * steps
        errors -= exact
        errors *= errors
        totals = errors @ weights
        best = int(totals.argmin())
        step, zero = last - best + _STEPS[0], int(zeros[best, 0])
        return cls(step, zero, (codes[best] + zero).astype(np.uint8)), float(totals[best])

    @classmethod
    def _logarithmic(cls, exact: Reals) -> CodedVector:
        numbers = grid_numbers(round_scale(torch.from_numpy(np.abs(exact)).float()))
        step = int(np.clip(numbers.max() - _COARSER, *_STEPS))
        levels = (numbers - (step + _COARSER - _LEVELS)).clip(0, _LEVELS).astype(np.uint8)
        negative = (exact < 0) & (levels > 0)
        return cls(step, _LOGARITHMIC, levels | np.where(negative, 128, 0).astype(np.uint8))

    def to_bytes(self) -> bytes:
        """Returns the step, the zero and the codes: a byte each."""
        return bytes([self.step - _STEPS[0], self.zero]) + self.codes.tobytes()

    @classmethod
    def read(cls, data: memoryview, count: int) -> tuple[CodedVector, memoryview]:
        """Reads `count` values that `to_bytes` wrote; returns them and what follows.

        Raises:
            ValueError: if the data end too early.
        """
        if len(data) < count + 2:
            raise ValueError(f"{count + 2} bytes of a batch norm, {len(data)} are left")
        codes = np.frombuffer(data[2 : count + 2], np.uint8).copy()
        return cls(data[0] + _STEPS[0], data[1], codes), data[count + 2 :]


def _may_be_coded(values: Reals) -> bool:
    """Whether all numbers have 16 significant bits at most, as code times step has."""
    short = values.astype(np.float32)
    return bool((short == values).all() and not (short.view(np.int32) & 0xFF).any())
