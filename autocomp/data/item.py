"""What one item or batch of a source is: inputs and labels, with nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from autocomp.errors import DataError

LABELS = ("label", "labels", "target", "targets", "y")
"""Names under which an item that is a mapping holds its labels."""


def is_numbers(thing: object) -> bool:
    """Whether something is a list of numbers, however deep, that an array can hold."""
    if not isinstance(thing, (list, tuple)) or not thing:
        return False
    first: Any = thing
    while isinstance(first, (list, tuple)):
        if not first:
            return False
        first = first[0]
    return isinstance(first, (int, float, np.number)) and not isinstance(first, bool)


def numbers(thing: Any, where: str) -> Any:
    """Returns a list of numbers as an array, in float32 where they are floating; others as given.

    Raises:
        DataError: if its rows differ in length.
    """
    if not is_numbers(thing):
        return thing
    try:
        array = np.array(thing)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: lists must hold numbers in rows of one length, but these do not; pad them, "
            "or give arrays."
        )
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def pair_of(item: Any, where: str) -> tuple[Any, Any]:
    """Returns inputs and labels of an item or a batch.

    Args:
        item: a pair, or a mapping with one entry of inputs and one named as `LABELS`.
        where: what it is, for messages.

    Raises:
        DataError: if it is neither, or holds more than that; what is not used is named.
    """
    if isinstance(item, Mapping):
        return _of_mapping(item, where)
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise DataError(
            f"{where} must be (image, label), but is a {type(item).__name__}. "
            "Return the pair from `__getitem__`."
        )
    if len(item) > 2:
        kinds = ", ".join(_kind(part) for part in item[2:])
        raise DataError(
            f"{where} must be (image, label), but has {len(item)} elements, and nothing would use "
            f"what follows the second ({kinds}); return two, and wrap a network that takes several "
            "inputs in a module that takes one tensor."
        )
    return item[0], item[1]


def _of_mapping(item: Mapping[Any, Any], where: str) -> tuple[Any, Any]:
    labels = [key for key in item if key in LABELS]
    inputs = [key for key in item if key not in LABELS]
    if len(labels) == 1 and len(inputs) == 1:
        return item[inputs[0]], item[labels[0]]
    keys = ", ".join(repr(str(key)) for key in item) or "nothing"
    if len(labels) != 1:
        raise DataError(
            f"{where}: a mapping must have one entry of labels, named {', '.join(LABELS)}, but has "
            f"{keys}; rename or remove entries."
        )
    raise DataError(
        f"{where}: a mapping must have one entry of inputs beside {labels[0]!r}, but has {keys}; "
        "remove those that the network does not need (as dataset.remove_columns does), or return "
        "(image, label)."
    )


def _kind(part: object) -> str:
    if isinstance(part, (Tensor, np.ndarray)):
        return f"{type(part).__name__} of shape {tuple(part.shape)}"
    return type(part).__name__
