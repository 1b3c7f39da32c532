"""One split of a data set: its images and labels, loaded when they are first asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from autocomp.data.stratify import stratified
from autocomp.errors import AutocompError, DataError
from autocomp.plugins.imports import describe

Loader = Callable[[], tuple[Tensor, Tensor]]

_TOKENS = (torch.int64, torch.int32, torch.int16)
"""Inputs of these types are token numbers, for an embedding; they are not normalised."""


class Split:
    """Images and integer labels of one split, loaded lazily and only once.

    Images are `(N, C, H, W)` or any `(N, ...)`. Stored as floating numbers they are what the
    network expects, or lie in [0, 1] where `mean` and `std` are given; stored as uint8 they lie in
    [0, 255] and need `mean` and `std`. `batch` gives what the network expects in every case:
    `(x - mean) / std`, channel by channel, with `x` in [0, 1].

    Args:
        loader: returns images and labels; run when the split is first read.
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
        self._held: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
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
    def images(self) -> Tensor:
        """The images as stored, `(N, ...)` float32 or uint8; do not modify them."""
        return self._read()[0]

    @property
    def labels(self) -> Tensor:
        """The labels, `(N,)` int64 and not negative; do not modify them."""
        return self._read()[1]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = "not loaded" if self._held is None else f"{len(self)} samples"
        return f"Split({self.name!r}, {size})"

    def batch(self, indices: Tensor | slice | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns normalised float32 images and the int64 labels of some samples."""
        where = indices if isinstance(indices, slice) else torch.as_tensor(indices)
        images, labels = self.images[where], self.labels[where]
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
        rows = stratified(self.labels, n, seed)
        rows = rows if n < len(self) else torch.arange(len(self))
        name = f"{n} of {self.name}"
        return Split.of(self.images[rows], self.labels[rows], name, self.mean, self.std)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any image, label, mean or std."""
        digest = hashlib.sha256(f"{self.mean} {self.std}".encode())
        for tensor in (self.images, self.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def _read(self) -> tuple[Tensor, Tensor]:
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

    def _checked(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both as they are stored, or raises the `DataError` for the first broken rule."""
        if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
            raise DataError(
                f"{self.name}: images and labels must be tensors, but got "
                f"{type(images).__name__} and {type(labels).__name__}. Use torch.as_tensor."
            )
        return self._checked_images(images), self._checked_labels(labels, images)

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

    def _checked_labels(self, labels: Tensor, images: Tensor) -> Tensor:
        labels = labels.detach().cpu()
        integral = not (
            labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool
        )
        if labels.ndim != 1 or not integral:
            raise DataError(
                f"{self.name}: labels must be (N,) integers, but got shape {tuple(labels.shape)} "
                f"of {labels.dtype}. One class number a sample: labels.argmax(1) if one-hot."
            )
        if len(labels) != len(images):
            raise DataError(
                f"{self.name}: one label an image, but got {len(images)} images and "
                f"{len(labels)} labels. Give as many of one as of the other."
            )
        labels = labels.long()
        if labels.min() < 0:
            raise DataError(
                f"{self.name}: labels must not be negative, but one is {int(labels.min())}. "
                "Drop the samples without a label; count classes from 0."
            )
        return labels


def _same(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images, labels
