"""In which arithmetic onnxruntime runs a layer."""

from __future__ import annotations

from typing import NamedTuple


class Precision(NamedTuple):
    """Bits of the stored weights and of the layer's input values, as the processor runs them.

    Attributes:
        weight_bits: 32, 8 or 4.
        activation_bits: 32 or 8; 8 goes with `weight_bits` 8 alone.
    """

    weight_bits: int
    activation_bits: int

    def __str__(self) -> str:
        return f"w{self.weight_bits}a{self.activation_bits}"


FLOAT32 = Precision(32, 32)
INT8 = Precision(8, 8)
INT8_WEIGHTS = Precision(8, 32)
INT4_WEIGHTS = Precision(4, 32)
PRECISIONS = (FLOAT32, INT8, INT8_WEIGHTS, INT4_WEIGHTS)
"""Everything that can be measured."""


def runs_as(weight_bits: int, activation_bits: int) -> Precision:
    """Returns the fastest arithmetic that these bit-widths allow.

    Codes of at most 8 bits on both sides run as int8, also those of fewer bits: no kernel gains
    from them. With floating inputs the weights (`INT8_WEIGHTS`, `INT4_WEIGHTS`) are turned back
    once, when the network is loaded, and the layer runs in float32: codes save bytes of the file,
    not time. Measured on one core with AVX-512 VNNI (onnxruntime 1.32, 64 -> 64 channels, 3x3,
    16x16 positions): float32 81 us, int8 27, int8 weights 81, int4 weights 81. By onnxruntime's own
    default, which `runtime.open_session` overrides, the last two took 120 and 144.

    Args:
        weight_bits: bits of a weight, 32 for floating point.
        activation_bits: bits of an input value, 32 for floating point.
    """
    return INT8 if weight_bits <= 8 and activation_bits <= 8 else FLOAT32
