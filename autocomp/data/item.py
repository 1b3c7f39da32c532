"""What one item or batch of a source is: inputs and labels, with nothing dropped in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autocomp.core.dtypes import is_dense
from autocomp.core.structured import Inputs, Structured
from autocomp.errors import DataError

LABELS = ("label", "labels", "target", "targets", "y")
"""Names under which an item that is a mapping holds its labels."""


_PIXELS = (torch.uint8, np.dtype("uint8"))


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


def as_tensor(thing: Any, name: str = "data") -> Tensor:
    """Returns a tensor of its own (an array may be read-only or have negative strides).

    Raises:
        DataError: if it holds what torch has not, or is no dense tensor.
    """
    if isinstance(thing, Tensor):
        if not is_dense(thing):
            raise DataError(
                f"{name}: a tensor must be dense and hold numbers, but got one of {thing.dtype} in "
                f"the layout {thing.layout} on {thing.device}; convert it first."
            )
        return thing
    try:
        array = np.array(thing)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError):
        kind = getattr(thing, "dtype", type(thing).__name__)
        raise DataError(
            f"{name}: an array must hold numbers that torch has, but got one of {kind}; "
            "convert it, as array.astype(np.float32) or labels.astype(np.int64)."
        ) from None


def is_array(thing: object) -> bool:
    """Whether something is a tensor or an array."""
    return isinstance(thing, (Tensor, np.ndarray))


def pair_of(item: Any, where: str) -> tuple[Any, Any]:
    """Returns inputs and labels of an item or a batch; labels are None where there are none.

    Args:
        item: a pair, inputs alone, or a mapping, in which one entry named as `LABELS` is the
            labels and all others are inputs that the network takes by name; a single one that it
            has no name for goes by position.
        where: what it is, for messages.

    Raises:
        DataError: if it is none of these; what is not used is named.
    """
    if isinstance(item, (Mapping, Structured)) or is_array(item):
        return _of_mapping(item, where) if isinstance(item, Mapping) else (item, None)
    if not isinstance(item, (tuple, list)) or not item:
        raise DataError(
            f"{where} must be (image, label), but is a {type(item).__name__}. "
            "Return the pair from `__getitem__`."
        )
    if len(item) == 1:
        return item[0], None
    if len(item) > 2:
        kinds = ", ".join(_kind(part) for part in item[2:])
        raise DataError(
            f"{where} must be (inputs, label), but has {len(item)} elements, and nothing would use "
            f"what follows the second ({kinds}); return two: several inputs as one tuple or "
            "mapping, ((a, b), label), or a mapping with an entry 'labels'."
        )
    return item[0], item[1]


def inputs_of(thing: Any, where: str, single: bool = False) -> Inputs:
    """Returns inputs as a tensor, or as several in one.

    Args:
        thing: a tensor, an array, a list of numbers, or a tuple or mapping of such.
        where: what it is, for messages.
        single: whether it is one sample, not a batch; it becomes a batch of one.

    Raises:
        DataError: if it is something else, or holds nothing.
    """
    if isinstance(thing, Structured):
        return thing
    thing = numbers(thing, where)
    if is_array(thing):
        tensor = as_tensor(thing, where)
        return tensor[None] if single else tensor
    if isinstance(thing, Mapping) and thing:
        return Structured(**{str(k): _part(v, f"{where}, {k!r}", single) for k, v in thing.items()})
    if isinstance(thing, (tuple, list)) and thing:
        return Structured(*(_part(v, f"{where}, input {i}", single) for i, v in enumerate(thing)))
    raise DataError(
        f"{where}: the image must be a tensor, but is a {type(thing).__name__}. "
        "Convert it in the Dataset's transform (ToTensor, then Normalize)."
    )


def _part(value: Any, where: str, single: bool) -> Any:
    """Returns a tensor of structured inputs; flags and None go with every batch."""
    if value is None or isinstance(value, bool):
        return value
    value = numbers(value, where)
    if getattr(value, "dtype", None) in _PIXELS:
        raise DataError(
            f"{where}: one of several inputs is uint8, which nothing would normalise; give it as "
            "the network takes it, in float32 (or int64 for indices)."
        )
    if single and isinstance(value, (int, float, np.number)):
        value = np.array(value)
    if is_array(value):
        tensor = as_tensor(value, where)
        return tensor[None] if single else tensor
    if isinstance(value, (list, tuple)) and value and all(map(is_array, value)):
        raise DataError(
            f"{where}: each input must be one tensor, but is a list of {len(value)}, as a "
            "DataLoader makes of items that hold lists; let items hold tensors "
            "(dataset.set_format('torch')), or stack them in `collate_fn`."
        )
    raise DataError(
        f"{where}: each input must be a tensor, an array or a list of numbers, but is a "
        f"{type(value).__name__}; leave it out (as dataset.remove_columns does) or convert it."
    )


def _of_mapping(item: Mapping[Any, Any], where: str) -> tuple[Any, Any]:
    labels = [key for key in item if key in LABELS]
    inputs = {key: value for key, value in item.items() if key not in LABELS}
    keys = ", ".join(repr(str(key)) for key in item) or "nothing"
    if len(labels) > 1:
        raise DataError(
            f"{where}: a mapping must have at most one entry of labels, named {', '.join(LABELS)}, "
            f"but has {keys}; rename or remove entries."
        )
    if not inputs:
        raise DataError(
            f"{where}: a mapping must have an entry of inputs beside labels, but has {keys}; add "
            "it."
        )
    label = item[labels[0]] if labels else None
    only = next(iter(inputs.values()))
    if len(inputs) == 1 and (getattr(only, "dtype", None) in _PIXELS or not is_array(only)):
        return only, label  # an image, which has a mean and a deviation
    return inputs, label


def _kind(part: object) -> str:
    if is_array(part):
        return f"{type(part).__name__} of shape {tuple(part.shape)}"  # type: ignore[attr-defined]
    return type(part).__name__
