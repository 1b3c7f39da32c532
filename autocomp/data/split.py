"""One split of a data set: its inputs and labels, loaded when they are first asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from autocomp.core.structured import Inputs, Structured, leaves_of, moved
from autocomp.data.stratify import stratified
from autocomp.errors import AutocompError, DataError
from autocomp.plugins.imports import describe

Loaded: TypeAlias = tuple[Inputs, Tensor | None]
Loader = Callable[[], Loaded]

_TOKENS = (torch.int64, torch.int32, torch.int16)
"""Inputs of these types are token numbers, for an embedding; they are not normalised."""


class Split:
    """Inputs and labels of one split, loaded lazily and only once.

    Inputs are images `(N, C, H, W)`, any tensor `(N, ...)`, or several as one (`Structured`).
    Labels are what the task makes of them, `(N,)` whole numbers for classes, or None. Images
    stored as floating numbers are what the network expects, or lie in [0, 1] where `mean` and
    `std` are given; stored as uint8 they lie in [0, 255] and need `mean` and `std`. `batch` gives
    what the network expects in every case:
    `(x - mean) / std`, channel by channel, with `x` in [0, 1].

    Args:
        loader: returns inputs and labels; run when the split is first read.
        name: what the split is called in messages ("digits test").
        mean: per channel, for images in [0, 1]; `std` must be given with it.
        std: per channel, positive.

    Attributes:
        name: as given.
        mean: as given.
        std: as given.
        reads: how often the loader was run: 0 before the first use, 1 after it.

    Raises:
        DataError: if only one of `mean` and `std` is given, they differ in length, or a `std` is
            not positive; on the first use, if the loader fails or what it returns is no split.
    """

    def __init__(
        self,
        loader: Loader,
        name: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise DataError(f"{name}: `mean` and `std` go together, but got {mean=} and {std=}.")
        if mean is not None and std is not None:
            if len(mean) != len(std) or not mean:
                raise DataError(f"{name}: one `mean` and one `std` a channel, got {mean=}, {std=}.")
            if not all(value > 0 for value in std):
                raise DataError(f"{name}: each `std` must be positive, but got {std=}.")
        self.name = name
        self.mean = None if mean is None else tuple(float(value) for value in mean)
        self.std = None if std is None else tuple(float(value) for value in std)
        self.reads = 0
        self._loader: Loader = loader
        self._held: Loaded | None = None

    @classmethod
    def of(
        cls,
        images: Inputs,
        labels: Tensor | None,
        name: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Split:
        """Returns a split of tensors in memory, checked at once; `reads` is 0 until it is used.

        Raises:
            DataError: as the class does.
        """
        split = cls(partial(_same, images, labels), name, mean, std)
        split._loader = partial(_same, *split._checked(images, labels))
        return split

    @property
    def images(self) -> Inputs:
        """The inputs as stored, `(N, ...)` float32, uint8 or int64; do not modify them."""
        return self._read()[0]

    @property
    def labels(self) -> Tensor | None:
        """The labels, `(N, ...)` int64 or float32, or None; do not modify them."""
        return self._read()[1]

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "not loaded" if self._held is None else f"{len(self)} samples"
        return f"Split({self.name!r}, {size})"

    def batch(self, indices: Tensor | slice | Sequence[int]) -> Loaded:
        """Returns normalised float32 inputs and the labels of some samples."""
        where = indices if isinstance(indices, slice) else torch.as_tensor(indices)
        images = self.images[where]
        if isinstance(where, slice):  # a network may write into its inputs, not into the data
            images = moved(images, Tensor.clone)
        labels = None if self.labels is None else self.labels[where]
        if isinstance(images, Structured):
            return images, labels
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        if self.mean is not None:
            shape = (1, -1, *(1 for _ in images.shape[2:]))
            mean, std = torch.tensor(self.mean).view(shape), torch.tensor(self.std).view(shape)
            images = (images - mean) / std
        return images, labels

    def subset(self, n: int, seed: int) -> Split:
        """Returns `n` samples as a split in memory, each class keeping its share; all if fewer.

        Raises:
            DataError: if `n < 1`.
        """
        labels, rows = self.labels, self.drawn(n, seed)
        some = None if labels is None else labels[rows]
        return Split.of(self.images[rows], some, f"{n} of {self.name}", self.mean, self.std)

    def drawn(self, n: int, seed: int) -> Tensor:
        """Returns the places of `subset`'s samples; DataError if `n < 1`."""
        labels = self.labels
        alike = torch.zeros(len(self), dtype=torch.int64)  # no classes to keep the shares of
        classes = labels is not None and labels.dim() == 1 and not labels.is_floating_point()
        rows = stratified(labels if classes and labels is not None else alike, n, seed)
        return rows if n < len(self) else torch.arange(len(self))

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any image, label, mean or std."""
        digest = hashlib.sha256(f"{self.mean} {self.std}".encode())
        labels = [] if self.labels is None else [self.labels]
        for tensor in (*leaves_of(self.images), *labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def _read(self) -> Loaded:
        if self._held is None:
            self.reads += 1
            try:
                images, labels = self._loader()
            except AutocompError:
                raise
            except Exception as problem:  # the user's own loader
                raise DataError(
                    f"{self.name}: loading it raised {describe(problem)}. Repair its source."
                ) from problem
            self._held = self._checked(images, labels)
        return self._held

    def _checked(self, images: Inputs, labels: Tensor | None) -> Loaded:
        """Returns both as they are stored, or raises the `DataError` for the first broken rule."""
        known = isinstance(images, (Tensor, Structured))
        if not known or not (labels is None or isinstance(labels, Tensor)):
            raise DataError(
                f"{self.name}: images and labels must be tensors, but got "
                f"{type(images).__name__} and {type(labels).__name__}. Use torch.as_tensor."
            )
        if isinstance(images, Structured):
            if self.mean is not None:
                raise DataError(
                    f"{self.name}: `mean` and `std` are of one tensor of images, but there are "
                    "several inputs; normalise them yourself."
                )
            return images.map(self._checked_leaf), self._checked_labels(labels, images)
        return self._checked_images(images), self._checked_labels(labels, images)

    def _checked_leaf(self, leaf: Tensor) -> Tensor:
        """Returns one of several inputs: numbers in float32, indices and masks as they are."""
        leaf = leaf.detach().cpu()
        if not leaf.is_floating_point():
            return leaf if leaf.dtype == torch.bool else leaf.long()
        if not bool(torch.isfinite(leaf).all()):
            raise DataError(
                f"{self.name}: inputs must be finite, but one of shape {tuple(leaf.shape)} holds "
                "NaN or infinity. Repair or drop samples."
            )
        return leaf.float()

    def _checked_images(self, images: Tensor) -> Tensor:
        shape = tuple(images.shape)
        if images.ndim < 2 or images.numel() == 0:
            raise DataError(
                f"{self.name}: images must be (N, ...) and not empty, but got shape {shape}. "
                "Give at least one image, with the samples along the first dimension."
            )
        if self.mean is not None and len(self.mean) not in (1, shape[1]):
            raise DataError(
                f"{self.name}: {len(self.mean)} means for images of shape {shape}. "
                "Give one a channel (dimension 1)."
            )
        images = images.detach().cpu()
        if images.dtype == torch.uint8:
            if self.mean is None:
                raise DataError(
                    f"{self.name}: uint8 images need `mean` and `std`. Give them to Split, or "
                    "convert the images to what the network expects, in float32."
                )
            return images
        if images.dtype in _TOKENS and self.mean is None:
            return images.long()
        if not images.is_floating_point():
            raise DataError(
                f"{self.name}: images must be floating or uint8, or int64 tokens, but got "
                f"{images.dtype}{'' if self.mean is None else ' with `mean` and `std`'}. "
                "Convert them to what the network expects."
            )
        images = images.float()
        bad = ~torch.isfinite(images).flatten(1).all(dim=1)
        if bad.any():
            raise DataError(
                f"{self.name}: images must be finite, but {int(bad.sum())} hold NaN or infinity, "
                f"the first at index {int(bad.nonzero()[0])}. Repair or drop them."
            )
        if self.mean is not None and (images.min() < 0 or images.max() > 1):
            raise DataError(
                f"{self.name}: floating images with `mean` and `std` must lie in [0, 1], but "
                f"reach from {images.min():.4g} to {images.max():.4g}. Divide by 255, or leave "
                "out `mean` and `std` where they are normalised already."
            )
        return images

    def _checked_labels(self, labels: Tensor | None, images: Inputs) -> Tensor | None:
        if labels is None:
            return None
        labels = labels.detach().cpu()
        if labels.ndim == 0 or len(labels) != len(images):
            raise DataError(
                f"{self.name}: one label an image, but got {len(images)} images and labels of "
                f"shape {tuple(labels.shape)}. Give as many of one as of the other."
            )
        if labels.is_complex():
            raise DataError(
                f"{self.name}: labels must be real numbers, but got {labels.dtype}. Convert them."
            )
        return labels.float() if labels.is_floating_point() else labels.long()


def _same(images: Inputs, labels: Tensor | None) -> Loaded:
    return images, labels
