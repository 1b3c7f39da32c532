"""Probability models for integer codes: exact in every bit, so that any machine decodes a file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from autocomp.artifacts.varints import fold, read_varints, unfold, write_varints
from autocomp.errors import ArtifactError

Integers = NDArray[np.int32]

_SCALES = (1 << 14, 1 << 7)
"""Sums of a table's frequencies: exact, and one byte a symbol for the codes of a small layer."""
_MAX_ALPHABET = 1024
_LOSS = 2e-4
"""Bits that the range coder loses a symbol, at most.

Its state has 64 bits, of which the range keeps at least 32, and probabilities have 24: dividing
cuts 2^24 / range off it, 0.00013 bits for a range spread evenly over its logarithm; 0.00015 were
measured on ResNet-50."""
TABLE, GEOMETRIC, GAUSSIAN, FLAT = range(4)


@dataclass(frozen=True)
class SymbolModel:
    """A distribution over the integers `low .. low + len(frequencies) - 1`.

    Attributes:
        kind: TABLE (frequencies are stored), GEOMETRIC or GAUSSIAN (a spike at zero and two equal
            tails, four bytes), or FLAT.
        low: the least integer.
        frequencies: positive integers, proportional to the probabilities; made by integer
            arithmetic alone, because a last-bit difference of `exp` between two machines would
            garble a range-coded stream.
        header: the bytes from which `read` makes the model again.
    """

    kind: int
    low: int
    frequencies: NDArray[np.int64]
    header: bytes

    def encode(self, symbols: Integers, coder: constriction.stream.queue.RangeEncoder) -> None:
        """Appends `symbols` to a range coder's stream; a single possible symbol takes no bits."""
        if len(self.frequencies) > 1 and symbols.size:
            coder.encode(np.ascontiguousarray(symbols - self.low), self._coder_model())

    def decode(self, count: int, coder: constriction.stream.queue.RangeDecoder) -> Integers:
        """Reads the next `count` symbols from a range coder's stream."""
        if len(self.frequencies) == 1 or count == 0:
            return np.full(count, self.low, np.int32)
        found: Integers = coder.decode(self._coder_model(), count)
        return found + np.int32(self.low)

    def _coder_model(self) -> constriction.stream.model.Categorical:
        return constriction.stream.model.Categorical(
            self.frequencies.astype(np.float32), perfect=False
        )

    def bits(self, counts: NDArray[np.int64]) -> float:
        """Bits that symbols with these `counts` (indexed from `low`) take, header not included."""
        used = counts > 0
        share = self.frequencies / self.frequencies.sum()
        coded = counts.sum() if len(self.frequencies) > 1 else 0
        return float(-(counts[used] * np.log2(share[used])).sum() + _LOSS * coded)

    @classmethod
    def fit(cls, values: Integers) -> SymbolModel:
        """Returns the model under which `values` and its own header take the fewest bytes."""
        if values.size == 0:
            return _flat(0, 1)
        low = int(values.min())
        size = int(values.max()) - low + 1
        if size > _MAX_ALPHABET:
            raise ArtifactError(
                f"At most {_MAX_ALPHABET} symbols fit one model, but got {size}; split the codes."
            )
        counts = np.bincount(values - low, minlength=size).astype(np.int64)
        candidates = [_flat(low, size), *(_table(low, counts, scale) for scale in _SCALES)]
        if low <= 0 <= low + size - 1 and size > 2:
            candidates += _parametric(low, counts)
        return min(candidates, key=lambda model: len(model.header) * 8 + model.bits(counts))

    @classmethod
    def read(cls, data: memoryview) -> tuple[SymbolModel, memoryview]:
        """Reads a model from the head of `data`; returns it and what follows.

        Raises:
            ArtifactError: if the bytes hold no model.
        """
        try:
            kind = data[0]
            (folded, size), data = read_varints(data[1:], 2)
            low = unfold(folded)
            if not 1 <= size <= _MAX_ALPHABET:
                raise ValueError(f"alphabet of {size}")
            if kind == FLAT:
                return _flat(low, size), data
            if kind == TABLE:
                found, data = read_varints(data, size)
                frequencies = np.array(found, np.int64)
                if not frequencies.any():
                    raise ValueError("empty table")
                return _from_table(low, frequencies), data
            if kind in (GEOMETRIC, GAUSSIAN):
                zero, ratio = struct.unpack_from("<HH", data)
                return _from_parameters(kind, low, size, zero, ratio), data[4:]
            raise ValueError(f"model kind {kind}")
        except (struct.error, ValueError, IndexError) as error:
            raise ArtifactError(
                f"The file must hold symbol models, but one is damaged ({error}); "
                "write the file again."
            ) from None


def _header(kind: int, low: int, size: int) -> bytes:
    return bytes([kind]) + write_varints([fold(low), size])


def _flat(low: int, size: int) -> SymbolModel:
    return SymbolModel(FLAT, low, np.ones(size, np.int64), _header(FLAT, low, size))


def _table(low: int, counts: NDArray[np.int64], scale: int) -> SymbolModel:
    scaled = np.rint(counts * (scale / counts.sum())).astype(np.int64)
    return _from_table(low, np.where(counts > 0, np.maximum(scaled, 1), 0))


def _from_table(low: int, stored: NDArray[np.int64]) -> SymbolModel:
    header = _header(TABLE, low, len(stored)) + write_varints(stored.tolist())
    # zero frequencies are impossible symbols; the coder wants every one possible, if barely
    return SymbolModel(TABLE, low, np.where(stored > 0, stored * 4096, 1), header)


def _parametric(low: int, counts: NDArray[np.int64]) -> list[SymbolModel]:
    size = len(counts)
    total, zeros = int(counts.sum()), int(counts[-low])
    magnitude = np.abs(np.arange(low, low + size))
    tail = counts.copy()
    tail[-low] = 0
    n_tail = max(1, int(tail.sum()))
    zero = min(max(round(65535 * zeros / total), 1), 65534)
    mean = float((tail * magnitude).sum()) / n_tail
    square = float((tail * magnitude**2).sum()) / n_tail
    geometric = 1 - 1 / max(mean, 1.001)
    gaussian = float(np.exp(-0.5 / max(square, 0.05)))
    models = []
    for kind, guess in ((GEOMETRIC, geometric), (GAUSSIAN, gaussian)):
        # exact fits are for unbounded alphabets; try a few neighbours for the clipped one
        for log_factor in (0.8, 0.9, 1.0, 1.1, 1.25):
            ratio = min(max(round(65536 * guess**log_factor), 1), 65535)
            models.append(_from_parameters(kind, low, size, zero, ratio))
    best: dict[int, SymbolModel] = {}
    for model in models:
        known = best.get(model.kind)
        if known is None or model.bits(counts) < known.bits(counts):
            best[model.kind] = model
    return list(best.values())


def _from_parameters(kind: int, low: int, size: int, zero: int, ratio: int) -> SymbolModel:
    if not low <= 0 <= low + size - 1 or not (0 < zero < 65536 and 0 < ratio < 65536):
        raise ValueError("parameters out of range")
    reach = max(-low, low + size - 1)
    weights = [0] * (reach + 1)
    weight, step = 1 << 40, ratio << 16  # fixed point with 40 and 32 bits
    square = ratio * ratio
    for k in range(1, reach + 1):
        weights[k] = max(weight, 1)
        # geometric: w_{k+1} = w_k r; Gaussian: w_{k+1} = w_k r^(2k+1), so the ratio shrinks by r^2
        if kind == GEOMETRIC:
            weight = (weight * ratio) >> 16
        else:
            if k == 1:
                step = (step * square) >> 32
            weight = (weight * step) >> 32
            step = (step * square) >> 32
    values = [weights[abs(v)] for v in range(low, low + size)]
    tail = sum(values) or 1
    scale = 1 << 30
    spread = [max((v * (65536 - zero) * scale // tail) >> 16, 64) for v in values]
    spread[-low] = max((zero * scale) >> 16, 64)
    header = _header(kind, low, size) + struct.pack("<HH", zero, ratio)
    return SymbolModel(kind, low, np.array(spread, np.int64), header)
