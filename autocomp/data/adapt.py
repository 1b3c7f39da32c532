"""Turning what a user has of one split (tensors, a Dataset, a DataLoader) into a `Split`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from autocomp.core.structured import Inputs, Structured, joined, leaves_of, like
from autocomp.data.item import as_tensor, inputs_of, is_array, numbers, pair_of
from autocomp.data.split import Loaded, Split
from autocomp.errors import DataError

MOST_SAMPLES, MOST_BYTES = 1 << 22, 1 << 33
"""What a split may hold in memory; a source may be endless."""
_TAKES = (
    "Give a Split, an (inputs, labels) pair, inputs alone, a torch Dataset, a DataLoader, or a "
    "list of batches."
)


def as_split(thing: object, name: str) -> Split:
    """Returns `thing` as a split named `name`.

    A Dataset or a DataLoader is read on first use, once, under a random state of its own (so
    that random transforms and shuffling repeat and the caller's state stays untouched).

    Args:
        thing: a Split (returned as is); a pair of inputs and labels, or inputs alone, which are
            tensors, arrays or lists of numbers, or tuples or mappings of them; a map-style torch
            Dataset of such items, a `datasets.Dataset`, or a DataLoader or an iterable of such
            batches. An item may be a mapping of which one entry is the labels.
        name: what the split is called in messages.

    Raises:
        DataError: if `thing` is none of these, or breaks a rule of `Split`.
    """
    if isinstance(thing, Split):
        return thing
    if is_array(thing) or isinstance(thing, (Structured, Mapping)):
        inputs, labels = pair_of(thing, name)
        return _of_pair(inputs, labels, name)
    if isinstance(thing, list) and len(thing) == 2 and _are_alike(*thing):
        raise DataError(
            f"{name}: a list of two tensors of shape {tuple(thing[0].shape)} may be inputs and "
            "targets, or two batches; give a tuple (inputs, targets), or torch.cat of the batches."
        )
    if isinstance(thing, (tuple, list)) and len(thing) == 2 and not _is_batches(thing):
        return _of_pair(thing[0], thing[1], name)
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
    raise DataError(f"{name}: a {type(thing).__name__} is not a split. {_TAKES}")


def _of_pair(inputs: Any, labels: Any, name: str) -> Split:
    """Returns the split of inputs and labels in memory; labels may be None."""
    wanted = numbers(labels, name)
    if labels is not None and not is_array(wanted):
        kinds = " and ".join(type(part).__name__ for part in (inputs, labels))
        raise DataError(
            f"{name}: labels must be one tensor or array, or None, but inputs and labels are "
            f"{kinds}; several inputs are one tuple or mapping, ((a, b), labels)."
        )
    targets = None if labels is None else as_tensor(wanted, name)
    return Split.of(inputs_of(inputs, name), targets, name)


class Held:
    """Counts what a source has given, which may be one that never ends.

    Args:
        name: what the split is called.
    """

    most_samples, most_bytes = MOST_SAMPLES, MOST_BYTES

    def __init__(self, name: str) -> None:
        self._name = name
        self._samples = self._bytes = 0

    def add(self, samples: int, inputs: Inputs) -> None:
        """Counts a batch; DataError if a split in memory may not hold so much."""
        self._samples += max(samples, 1)
        self._bytes += sum(leaf.numel() * leaf.element_size() for leaf in leaves_of(inputs))
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
        return bool(thing) and all(
            isinstance(part, (Mapping, Structured))
            or (isinstance(part, tuple) and any(map(_holds, part)))
            or (isinstance(part, list) and len(part) == 2 and all(map(is_array, part)))
            for part in thing
        )
    return isinstance(thing, Iterator)


def _are_alike(first: Any, second: Any) -> bool:
    """Whether two arrays may as well be two batches as inputs and targets."""
    both = is_array(first) and is_array(second)
    return both and first.ndim > 1 and tuple(first.shape[1:]) == tuple(second.shape[1:])


def _holds(part: object) -> bool:
    """Whether a part of a pair holds tensors: so it is a batch, not a row of numbers."""
    return is_array(part) or isinstance(part, (Mapping, tuple, list, Structured))


class _Gathered:
    """Samples of a source, one after the other.

    Args:
        name: what the split is called.
        unit: what the source gives: "item" or "batch".
    """

    def __init__(self, name: str, unit: str) -> None:
        self._name, self._unit = name, unit
        self._inputs: list[Inputs] = []
        self._labels: list[Tensor] = []
        self._held = Held(name)

    def add(self, inputs: Inputs, labels: Tensor | None, place: int) -> None:
        """Adds a batch; DataError if it does not fit the first, or there are too many samples."""
        first = self._inputs[0] if self._inputs else inputs
        inputs = like(inputs, first)
        if _shapes(inputs) != _shapes(first):
            raise DataError(
                f"{self._name}: inputs must share one shape, but {self._unit} {place} has images "
                f"{_told(inputs)} and {self._unit} 0 {_told(first)}. Resize them, or pad texts to "
                "one length."
            )
        if (labels is None) != (len(self._labels) < len(self._inputs)) and self._inputs:
            raise DataError(
                f"{self._name}: all samples or none must have labels, but {self._unit} {place} "
                "differs from those before; give labels to each."
            )
        self._held.add(len(inputs), inputs)
        self._inputs.append(inputs)
        if labels is not None:
            if self._labels and labels.shape[1:] != self._labels[0].shape[1:]:
                raise DataError(
                    f"{self._name}: labels must share one shape, but {self._unit} {place} has "
                    f"{tuple(labels.shape[1:])} and {self._unit} 0 "
                    f"{tuple(self._labels[0].shape[1:])}. Bring them to one."
                )
            self._labels.append(labels)

    def loaded(self, empty: str) -> Loaded:
        """Returns everything; DataError with these words where there is nothing."""
        if not self._inputs:
            raise DataError(f"{self._name}: {empty}")
        return joined(self._inputs), torch.cat(self._labels) if self._labels else None


def _from_dataset(dataset: Any, name: str) -> Loaded:
    gathered = _Gathered(name, "item")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for index in range(len(dataset)):
            where = f"{name}: item {index}"
            given, label = pair_of(dataset[index], where)
            value = None if label is None else _label(label, where)[None]
            gathered.add(inputs_of(given, where, single=True), value, index)
    return gathered.loaded("the Dataset is empty. Give at least one sample.")


def _from_loader(loader: DataLoader[Any], name: str) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return _from_batches(loader, name, loader if loader.batch_size is None else None)


def _from_batches(
    batches: Iterable[Any], name: str, unbatched: DataLoader[Any] | None = None
) -> Loaded:
    """Reads batches, and single samples from a loader that makes no batches."""
    gathered = _Gathered(name, "batch")
    for index, batch in enumerate(batches):
        where = f"{name}: batch {index}"
        given, value = pair_of(batch, where)
        label = None if value is None else _label(value, where)
        lone = unbatched is not None and _is_sample(unbatched, given, label)
        inputs = inputs_of(given, where, single=lone)
        if lone and label is not None:
            label = label.reshape(1) if label.numel() == 1 else label[None]
        whole = isinstance(inputs, Structured) or inputs.dim() > 0
        if not whole or (label is not None and (label.dim() == 0 or len(label) != len(inputs))):
            sizes = "none" if label is None else tuple(label.shape)
            raise DataError(
                f"{name}: batches must hold images of one shape and a label each, but batch "
                f"{index} has images {_told(inputs)} and labels {sizes}. "
                + (
                    "Put the samples first in both."
                    if unbatched is None
                    else "Give the DataLoader a batch_size."
                )
            )
        gathered.add(inputs, label, index)
    return gathered.loaded("the source is empty. Give at least one batch.")


def _is_sample(loader: DataLoader[Any], inputs: Any, label: Tensor | None) -> bool:
    """Whether a loader without batches (batch_size=None) gives a sample rather than a batch.

    A batch of one and a sample of one channel look alike; the items of a map-style Dataset are
    samples.
    """
    streamed = isinstance(loader.dataset, IterableDataset)
    if label is None:
        return not streamed
    if label.dim() == 0:
        return True
    given = getattr(inputs, "shape", ())
    made = isinstance(loader.sampler, BatchSampler)
    if not streamed and not made and label.dim() > 1 and len(label) == len(inputs):
        raise DataError(
            f"A DataLoader with batch_size=None must say what it gives, but inputs "
            f"{tuple(given)} and targets {tuple(label.shape)} may be one sample or a batch; give "
            "it a batch_size, or a list of batches."
        )
    return label.shape == (1,) and not (streamed and tuple(given[:1]) == (1,))


def _label(value: Any, where: str) -> Tensor:
    value = numbers(value, where)
    try:
        return as_tensor(value, where) if is_array(value) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{where}: a label must be a number, a tensor or an array, but is a "
            f"{type(value).__name__}; convert it."
        ) from None


def _shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape[1:]) for leaf in leaves_of(inputs)]


def _told(inputs: Inputs) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in leaves_of(inputs))
