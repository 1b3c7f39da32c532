"""Integer codes as ONNX tensors: the narrowest type that holds them, and their packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocomp.core.quantized import Quantized

WIDTHS = (2, 4, 8, 16)
"""Bits of ONNX's integer types that weights can have."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Codes:
    """A quantized weight, `scale * codes`, with one scale per index of an axis.

    Attributes:
        values: integers of the weight's shape; 0 stands for 0.
        scale: float32, one number, or one per index of `axis`.
        axis: the axis that the scales belong to, None for one scale.
    """

    values: Ints
    scale: Floats
    axis: int | None

    @classmethod
    def of(cls, weight: Quantized) -> Codes | None:
        """Returns the codes of a weight; None if its scales vary along several axes."""
        shape = tuple(weight.scale.shape)
        axes = [i for i, length in enumerate(shape) if length > 1]
        if len(axes) > 1:
            return None
        # scales are the trailing axes of a broadcast, as in torch
        axis = axes[0] + weight.codes.dim() - len(shape) if axes else None
        values = weight.codes.cpu().numpy().astype(np.int64)
        return cls(values, weight.scale.cpu().numpy().astype(np.float32).reshape(-1), axis)

    def per_channel(self, axis: int) -> Codes:
        """Returns the same weight with a scale for every index of `axis`.

        Raises:
            ValueError: if the scales belong to another axis.
        """
        if self.axis not in (None, axis):
            raise ValueError(f"scales are along axis {self.axis}, not {axis}")
        scale = np.broadcast_to(self.scale, (self.values.shape[axis],)).copy()
        return Codes(self.values, scale, axis)

    def times(self, gain: npt.NDArray[np.float64], axis: int) -> Codes:
        """Returns the weight multiplied by `gain` along `axis`, exactly the same codes.

        Scales stay positive, as integer kernels expect: where the gain is negative the codes change
        sign, where it is zero they become zero.
        """
        one = self.per_channel(axis)
        shape = [1] * self.values.ndim
        shape[axis] = -1
        sign = np.sign(gain).astype(np.int64).reshape(shape)
        scale = np.where(gain == 0, 1.0, one.scale.astype(np.float64) * np.abs(gain))
        return Codes(one.values * sign, scale.astype(np.float32), axis)

    def transposed(self) -> Codes:
        """Returns a matrix with its axes exchanged."""
        return Codes(self.values.T, self.scale, None if self.axis is None else 1 - self.axis)


@dataclass(frozen=True)
class Stored:
    """Codes in an integer type of ONNX: `weight = scale * (stored - zero)`.

    Attributes:
        bits: width of the type, one of `WIDTHS`.
        values: the integers as stored.
        zero: the integer that stands for 0, one per scale; None for a signed type, where it is 0.
        scale: as `Codes.scale`.
        axis: as `Codes.axis`.
    """

    bits: int
    values: Ints
    zero: Ints | None
    scale: Floats
    axis: int | None

    @property
    def type_name(self) -> str:
        """The type's name: "int4", "uint8", ..."""
        return f"{'int' if self.zero is None else 'uint'}{self.bits}"

    def along_axis(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns numbers that belong to the scales so that they broadcast over the weight."""
        shape = [1] * self.values.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        return values.reshape(shape)

    def proto(self, name: str, values: Ints) -> Any:
        """Returns `values` as an ONNX tensor of this type."""
        from onnx import TensorProto

        kind = getattr(TensorProto, self.type_name.upper())
        if self.bits < 8:
            data = packed(values, self.bits)
        else:
            sign = "i" if self.zero is None else "u"
            data = values.astype(f"<{sign}{self.bits // 8}").tobytes()
        tensor = TensorProto(name=name, data_type=kind, raw_data=data)
        tensor.dims.extend(values.shape)
        return tensor


def store(codes: Codes, least: int = WIDTHS[0]) -> Stored | None:
    """Returns the codes in the narrowest type of at least `least` bits; None if none holds them."""
    values = codes.values
    if codes.axis is None:
        rows = values.reshape(1, -1)
    else:
        rows = np.moveaxis(values, codes.axis, 0).reshape(values.shape[codes.axis], -1)
    low, high = np.minimum(rows.min(1), 0), np.maximum(rows.max(1), 0)
    for bits in (width for width in WIDTHS if width >= least):
        half = 2 ** (bits - 1)
        if low.min() >= -half and high.max() < half:
            return Stored(bits, values, None, codes.scale, codes.axis)
        if (high - low).max() < 2 * half:
            zero = -low
            shape = [1] * values.ndim
            if codes.axis is not None:
                shape[codes.axis] = -1
            return Stored(bits, values + zero.reshape(shape), zero, codes.scale, codes.axis)
    return None


def packed(values: Ints, bits: int) -> bytes:
    """Returns integers of 2, 4 or 8 bits in bytes, the first in the lowest bits, zeros at the end.

    Negative ones are in two's complement.
    """
    per = 8 // bits
    flat = values.reshape(-1) & (2**bits - 1)
    flat = np.concatenate([flat, np.zeros(-len(flat) % per, np.int64)]).reshape(-1, per)
    shifted = flat << (np.arange(per) * bits)
    return bytes(shifted.sum(1).astype(np.uint8))


def blocks(stored: Stored) -> tuple[int, npt.NDArray[np.uint8], Floats, npt.NDArray[np.uint8]]:
    """Lays a matrix (outputs, inputs) out as MatMulNBits wants it, in the smallest way.

    One row's scale serves all of the row's blocks, so the weight is exactly the same; a row is
    filled up with zeros.

    Args:
        stored: a matrix of 2, 4 or 8 bits, with one scale or one per row.

    Returns:
        Block size; weights `(outputs, n, size * bits / 8)`; scales `(outputs, n)`; zero points
        `(outputs, ceil(n * bits / 8))`.
    """
    outputs, inputs = stored.values.shape
    bits = stored.bits
    half = 2 ** (bits - 1)
    zero = np.full(outputs, half) if stored.zero is None else stored.zero
    zero = np.broadcast_to(zero, (outputs,))
    values = stored.values + (half if stored.zero is None else 0)
    least: dict[int, int] = {}
    for size in (16, 32, 64, 128, 256):
        n = -(-inputs // size)
        least[size] = n * (size * bits // 8 + 4) + (
            -(-n * bits // 8) if stored.zero is not None else 0
        )
    size = min(least, key=lambda s: (least[s], -s))
    n = -(-inputs // size)
    filled = np.repeat(zero[:, None], n * size, axis=1)
    filled[:, :inputs] = values
    weights = np.frombuffer(packed(filled, bits), np.uint8).reshape(outputs, n, size * bits // 8)
    scale = np.broadcast_to(stored.scale, (outputs,))
    scales = np.repeat(scale[:, None], n, axis=1).astype(np.float32)
    zeros = [np.frombuffer(packed(np.full(n, z), bits), np.uint8) for z in zero]
    return size, weights, scales, np.stack(zeros)
