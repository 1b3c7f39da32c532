"""Whole numbers in as few bytes as they need: seven bits a byte, the highest says if more come."""

from __future__ import annotations

from collections.abc import Iterable


def fold(number: int) -> int:
    """Maps 0, -1, 1, -2, ... to 0, 1, 2, 3, ..., so that small ones of both signs stay small."""
    return number << 1 if number >= 0 else ~(number << 1)


def unfold(number: int) -> int:
    """Inverts `fold`."""
    return (number >> 1) ^ -(number & 1)


def write_varints(values: Iterable[int]) -> bytes:
    """Returns the numbers, none negative, one after another."""
    out = bytearray()
    for value in values:
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return bytes(out)


def read_varints(data: memoryview, count: int) -> tuple[list[int], memoryview]:
    """Reads `count` numbers from the head of `data`; returns them and what follows.

    Raises:
        IndexError: if the data end too early.
        ValueError: if a number has more than 35 bits.
    """
    values: list[int] = []
    at = 0
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 28:
                raise ValueError("number too long")
        values.append(value)
    return values, data[at:]
