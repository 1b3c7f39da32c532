"""How much a file may ask for: bounded by its own length, before anything is allocated.

A range coder holds a million equal codes in no byte at all, and deflate 1,032 bytes in one; so a
file of 200 bytes can name any number of weights. What a network needs is the tighter bound
(`Index.check_shapes`); these hold where no network is known.
"""

from __future__ import annotations

import math
from typing import Any

from autocomp.errors import ArtifactError
from autocomp.storage.json_files import is_flat

LARGEST = 1 << 40
"""Most elements of one tensor."""
DEEPEST = 32
"""Most levels of lists and objects in an index."""
_INDEX = 1 << 20, 200
_WEIGHTS = 1 << 22, 1 << 8
_EXACT = 1 << 24, 64
"""Bytes of an index, weights, and bytes of unchanged tensors: this many, and for each byte of the
file this many more. A network of 25 million weights has an index of thousands of bytes."""


def index_bytes(compressed: int) -> int:
    """Returns how long an index may be, inflated, that takes so many bytes deflated."""
    return min(_INDEX[0] + _INDEX[1] * compressed, 1 << 26)


def check_declared(weights: int, exact: int, length: int) -> None:
    """Raises ArtifactError if a file of `length` bytes cannot mean so many weights and bytes."""
    for kind, asked, (least, each) in (
        ("weights", weights, _WEIGHTS),
        ("bytes of unchanged tensors", exact, _EXACT),
    ):
        if asked > least + each * length:
            raise ArtifactError(
                f"A file of {length} bytes may hold {least + each * length} {kind}, but asks for "
                f"{asked}; give the network that it belongs to."
            )


def shape_of(values: Any) -> tuple[int, ...]:
    """Returns a tensor's shape as a file names it; ArtifactError if it is none."""
    if (
        not isinstance(values, list)
        or len(values) > 16
        or not all(type(size) is int and 0 <= size <= LARGEST for size in values)
        or math.prod(max(size, 1) for size in values) > LARGEST
    ):
        raise ArtifactError(f"A file must name shapes as short lists, but got {values!r:.60}.")
    return tuple(values)


def text_of(value: Any) -> str:
    """Returns a name in a file; ArtifactError if it is no text."""
    if not isinstance(value, str):
        raise ArtifactError(f"A file must name its tensors by texts, but got {value!r:.60}.")
    return value


def check_depth(value: Any) -> None:
    """Raises ArtifactError if lists and objects are nested deeper than any file needs."""
    if not is_flat(value, DEEPEST):
        raise ArtifactError(
            f"A file's index may be nested {DEEPEST} deep, but is deeper; write it again."
        )
