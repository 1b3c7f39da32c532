"""Turning what a user has of one split (tensors, a Dataset, a DataLoader) into a `Split`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from autocomp.core.dtypes import is_dense
from autocomp.data.item import numbers, pair_of
from autocomp.data.split import Split
from autocomp.errors import DataError

MOST_SAMPLES, MOST_BYTES = 1 << 22, 1 << 33
"""What a split may hold in memory; a source may be endless."""
_TAKES = (
    "Give a Split, an (images, labels) pair, a torch Dataset of (x, y), a DataLoader, or a list of "
    "batches."
)


def as_split(thing: object, name: str) -> Split:
    """Returns `thing` as a split named `name`.

    A Dataset or a DataLoader is read on first use, once, under a random state of its own (so
    that random transforms and shuffling repeat and the caller's state stays untouched).

    Args:
        thing: a Split (returned as is), a pair of tensors, arrays or lists of numbers, a map-style
            torch Dataset of (x, y), a `datasets.Dataset`, or a DataLoader or an iterable of such
            batches. An item may be a mapping with one entry of inputs and one of labels.
        name: what the split is called in messages.

    Raises:
        DataError: if `thing` is none of these, or a pair breaks a rule of `Split`.
    """
    if isinstance(thing, Split):
        return thing
    if isinstance(thing, (tuple, list)) and len(thing) == 2:
        parts = [numbers(part, name) for part in thing]
        if all(map(_is_array, parts)):
            return Split.of(_tensor(parts[0], name), _tensor(parts[1], name), name)
    if isinstance(thing, DataLoader):
        return Split(partial(_from_loader, thing, name), name)
    if isinstance(thing, IterableDataset):
        raise DataError(f"{name}: an IterableDataset has no length. Wrap it in a DataLoader.")
    if isinstance(thing, Dataset) or hasattr(thing, "column_names"):
        if not hasattr(thing, "__len__"):
            raise DataError(f"{name}: the Dataset needs a length. Define `__len__`.")
        return Split(partial(_from_dataset, thing, name), name)
    if _is_batches(thing):
        return Split(partial(_from_batches, thing, name), name)
    if isinstance(thing, (tuple, list)) and len(thing) == 2:
        kinds = " and ".join(type(part).__name__ for part in thing)
        raise DataError(
            f"{name}: inputs and labels must each be one tensor or array, but got {kinds}; wrap a "
            "network that takes a dictionary or several tensors in a module that takes one."
        )
    raise DataError(f"{name}: a {type(thing).__name__} is not a split. {_TAKES}")


class Held:
    """Counts what a source has given, which may be one that never ends.

    Args:
        name: what the split is called.
    """

    most_samples, most_bytes = MOST_SAMPLES, MOST_BYTES

    def __init__(self, name: str) -> None:
        self._name = name
        self._samples = self._bytes = 0

    def add(self, samples: int, images: Tensor) -> None:
        """Counts a batch; DataError if a split in memory may not hold so much."""
        self._samples += max(samples, 1)
        self._bytes += images.numel() * images.element_size()
        if self._samples > self.most_samples or self._bytes > self.most_bytes:
            raise DataError(
                f"{self._name}: a split may have {self.most_samples} samples and "
                f"{self.most_bytes} bytes, but this source gives more; give a part of it (a few "
                "thousand samples are enough)."
            )


def _is_batches(thing: object) -> TypeGuard[Iterable[Any]]:
    """Whether something gives batches: an iterator, or a list of pairs or mappings.

    Not a tuple: of two it would be inputs and labels.
    """
    if isinstance(thing, list):
        return bool(thing) and all(isinstance(part, (tuple, Mapping)) for part in thing)
    return isinstance(thing, Iterator)


def _is_array(thing: object) -> bool:
    return isinstance(thing, (Tensor, np.ndarray))


def _tensor(thing: Any, name: str = "data") -> Tensor:
    """Returns a tensor of its own (an array may be read-only or have negative strides)."""
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
        raise DataError(
            f"{name}: an array must hold numbers that torch has, but got one of {thing.dtype}; "
            "convert it, as array.astype(np.float32) or labels.astype(np.int64)."
        ) from None


def _from_dataset(dataset: Any, name: str) -> tuple[Tensor, Tensor]:
    images, labels, held = [], [], Held(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for index in range(len(dataset)):
            image, label = _pair(dataset[index], f"{name}: item {index}")
            held.add(1, image)
            images.append(image)
            labels.append(torch.as_tensor(numbers(label, name)))
            if image.shape != images[0].shape:
                raise DataError(
                    f"{name}: images must share one shape, but item {index} has "
                    f"{tuple(image.shape)} and item 0 {tuple(images[0].shape)}. Resize them."
                )
    if not images:
        raise DataError(f"{name}: the Dataset is empty. Give at least one sample.")
    return torch.stack(images), torch.stack(labels)


def _from_loader(loader: DataLoader[Any], name: str) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _from_batches(loader, name, loader if loader.batch_size is None else None)


def _from_batches(
    batches: Iterable[Any], name: str, unbatched: DataLoader[Any] | None = None
) -> tuple[Tensor, Tensor]:
    """Reads batches, and single samples from a loader that makes no batches."""
    images, labels, held = [], [], Held(name)
    for index, batch in enumerate(batches):
        image, value = _pair(batch, f"{name}: batch {index}")
        label = torch.as_tensor(numbers(value, name))
        if unbatched is not None and _is_sample(unbatched, image, label):
            image, label = image[None], label.reshape(1)
        held.add(label.numel(), image)
        images.append(image)
        labels.append(label)
        if image.dim() == 0 or label.dim() == 0 or image.shape[1:] != images[0].shape[1:]:
            raise DataError(
                f"{name}: batches must hold images of one shape and a label each, but batch "
                f"{index} has images {tuple(image.shape)} and labels {tuple(label.shape)}, and "
                f"batch 0 images {tuple(images[0].shape)}. Give the DataLoader a batch_size."
            )
    if not images:
        raise DataError(f"{name}: the source is empty. Give at least one batch.")
    return torch.cat(images), torch.cat(labels)


def _is_sample(loader: DataLoader[Any], image: Tensor, label: Tensor) -> bool:
    """Whether a loader without batches (batch_size=None) gives a sample rather than a batch.

    A batch of one and a sample of one channel look alike; the items of a map-style Dataset are
    samples.
    """
    if label.dim() == 0:
        return True
    streamed = isinstance(loader.dataset, IterableDataset)
    return label.shape == (1,) and not (streamed and image.shape[:1] == (1,))


def _pair(item: Any, where: str) -> tuple[Tensor, Any]:
    image, label = pair_of(item, where)
    image = numbers(image, where)
    if not _is_array(image):
        raise DataError(
            f"{where}: the image must be a tensor, but is a {type(image).__name__}. "
            "Convert it in the Dataset's transform (ToTensor, then Normalize)."
        )
    return _tensor(image, where), label
