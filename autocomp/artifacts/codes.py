"""Turning one layer's codes into symbol streams for the range coder, and their exact length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autocomp.artifacts.symbols import Integers, SymbolModel

_DIRECT = 512
"""Alphabets up to this size are coded as they are; wider ones in two bytes."""
_WIDE = 255
"""Stands where a narrow tensor's only symbol model begins, which no model begins with."""


@dataclass(frozen=True)
class Stream:
    """Symbols and the model that they are coded with."""

    symbols: Integers
    model: SymbolModel

    @property
    def bits(self) -> float:
        """Bits that the symbols take in the range coder."""
        size = len(self.model.frequencies)
        counts = np.bincount(self.symbols - self.model.low, minlength=size)
        return self.model.bits(counts.astype(np.int64))


@dataclass(frozen=True)
class CodedTensor:
    """The streams of one tensor of integer codes.

    Narrow codes are one stream. Wide ones (9 to 16 bits) are a stream that says which codes are not
    zero, then the high and the low bytes of those.
    """

    wide: bool
    streams: tuple[Stream, ...]

    @property
    def header(self) -> bytes:
        """The models of the streams, as stored in the file."""
        models = b"".join(stream.model.header for stream in self.streams)
        return bytes([_WIDE]) + models if self.wide else models

    @property
    def bits(self) -> float:
        """Bits in the file: headers and symbols."""
        return len(self.header) * 8 + sum(stream.bits for stream in self.streams)

    @classmethod
    def of(cls, codes: NDArray[np.int64] | Integers) -> CodedTensor:
        """Splits `codes` (any shape) into streams, each with its cheapest model."""
        flat = np.ascontiguousarray(codes, dtype=np.int32).reshape(-1)
        low, high = int(flat.min(initial=0)), int(flat.max(initial=0))
        if high - low < _DIRECT:
            return cls(False, (Stream(flat, SymbolModel.fit(flat)),))
        significant = (flat != 0).astype(np.int32)
        shifted = flat[flat != 0] + (1 << 16)
        parts = (significant, shifted >> 8, shifted & 255)
        return cls(True, tuple(Stream(part, SymbolModel.fit(part)) for part in parts))

    @staticmethod
    def read_models(data: memoryview) -> tuple[bool, tuple[SymbolModel, ...], memoryview]:
        """Reads `header` from the head of `data`; returns (wide, models, what follows)."""
        wide = data[0] == _WIDE
        data = data[1:] if wide else data
        models = []
        for _ in range(3 if wide else 1):
            model, data = SymbolModel.read(data)
            models.append(model)
        return wide, tuple(models), data

    @staticmethod
    def join(
        wide: bool,
        models: tuple[SymbolModel, ...],
        count: int,
        decode: Callable[[SymbolModel, int], Integers],
    ) -> Integers:
        """Decodes `count` codes, given what decodes symbols of one model."""
        if not wide:
            return decode(models[0], count)
        codes = np.zeros(count, np.int32)
        significant = decode(models[0], count) != 0
        n = int(significant.sum())
        high, low = decode(models[1], n), decode(models[2], n)
        codes[significant] = (high << 8 | low) - (1 << 16)
        return codes
