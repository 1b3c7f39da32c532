"""A split in batches, as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from autocomp.core.structured import Inputs, leaves_of, moved
from autocomp.data.split import Split
from autocomp.network.device import of_type

Batch: TypeAlias = tuple[Inputs, Tensor | None]
"""Inputs and labels, if any."""
LARGEST = 5_000_000
"""Numbers of a batch of inputs: 33 images of 224 x 224, or 1,627 of 32 x 32.

A network's activations take a hundred times as much."""
QUICK = 310_000
"""Numbers of a batch of inputs that a processor scores quickest: 100 images of 32 x 32.

Their activations stay in its caches: batches of 100 took 0.65 times as long as of 500 (ResNet-20,
one thread)."""
_TOKEN = 1000
"""Numbers that a token becomes, about: a vector."""
_KEEP_BYTES = 1 << 29
"""Batches up to this size together are prepared once and kept."""


class Batches:
    """A split cut into normalised batches on a device.

    Args:
        split: the split.
        batch_size: images of a batch at most; of large ones fewer, see `LARGEST`. All are of about
            one size.
        device: where they go.
        dtype: type of images that are numbers.
        channels_last: whether images lie in channels-last order.
        largest: numbers of a batch of images, about; `LARGEST` by default.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        largest: int | None = None,
    ) -> None:
        self._largest = largest
        self._split = split
        self._dtype = dtype
        self._channels_last = channels_last
        self._batch_size = batch_size
        self._device = device
        self._kept: list[Batch] | None = None

    def __len__(self) -> int:
        return len(self._split)

    def __iter__(self) -> Iterator[Batch]:
        if self._kept is not None:
            yield from self._kept
            return
        given = self._split.images
        small = given.numel() * 4 <= _KEEP_BYTES
        kept = []
        for part in equal_parts(
            len(self._split), min(self._batch_size, fitting(given, self._largest))
        ):
            images, labels = self._split.batch(part)
            images = moved(images, self._placed)
            batch = (images, None if labels is None else labels.to(self._device))
            if small:
                kept.append(batch)
            yield batch
        if small:
            self._kept = kept

    def _placed(self, leaf: Tensor) -> Tensor:
        leaf = of_type(leaf, self._dtype).to(self._device)
        if self._channels_last and leaf.dim() == 4:
            return leaf.contiguous(memory_format=torch.channels_last)
        return leaf


class InputsOf:
    """The inputs of batches, whenever they are asked for."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Inputs]:
        for inputs, _ in self._batches:
            yield inputs


def equal_parts(n: int, largest: int) -> Iterator[slice]:
    """Cuts 0 .. n into as few parts as `largest` allows, of sizes that differ by one at most.

    A batch norm that normalises with its own batch must not see one of a few images.

    >>> [part.stop - part.start for part in equal_parts(512, 500)]
    [256, 256]
    """
    parts = -(-n // largest)
    for i in range(parts):
        yield slice(-(-i * n // parts), -(-(i + 1) * n // parts))  # larger parts first


def fitting(images: Inputs, largest: int | None = None) -> int:
    """Returns how many of these samples make a batch of `largest` numbers; at least two.

    By default, and where they are tokens, of `LARGEST`.

    A token counts as the numbers of its vector. Images may be stored as bytes.
    """
    leaves = leaves_of(images[:1])
    tokens = not any(leaf.is_floating_point() or leaf.dtype == torch.uint8 for leaf in leaves)
    one = max(leaf.numel() for leaf in leaves) * _TOKEN if tokens else images[:1].numel()
    most = LARGEST if tokens or largest is None else largest
    return max(2, most // max(1, one))
