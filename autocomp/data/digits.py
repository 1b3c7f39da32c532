"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 that come with the library."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.data.stratify import remaining, stratified
from autocomp.errors import DataError
from autocomp.plugins.imports import optional_import

_SEED = 0
_TEST, _SEARCH, _CALIBRATION = 400, 397, 256


def digits() -> DataSplits:
    """Handwritten digits, 8x8 grey, 10 classes; installed with scikit-learn, no download.

    Alpaydin and Kaynak 1998 (UCI, optical recognition of handwritten digits). Images are
    `(N, 1, 8, 8)` float32: scaled to [0, 1], minus the mean of the training pixels, divided by
    their standard deviation. The splits are the same in every process: train 1,000, search 397,
    test 400, each class in proportion; calibration is 256 images of train. Nothing is loaded yet.
    """
    calibration, search, test, train = (
        Split(partial(_load, part), f"digits {part}")
        for part in ("calibration", "search", "test", "train")
    )
    return DataSplits("digits", calibration, search, test, n_classes=10, train=train)


def _load(part: str) -> tuple[Tensor, Tensor]:
    """Returns images and labels of one split."""
    source = optional_import("sklearn.datasets", "digits", DataError)
    pixels, targets = source.load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    labels = torch.from_numpy(targets).long()
    rows = _rows(labels)
    known = images[rows["train"]]
    images = (images - known.mean()) / known.std()
    return images[rows[part]], labels[rows[part]]


def _rows(labels: Tensor) -> dict[str, Tensor]:
    """Returns which rows each split holds; calibration lies within train."""
    test = stratified(labels, _TEST, _SEED)
    rest = remaining(len(labels), test)
    drawn = stratified(labels[rest], _SEARCH, _SEED)
    train = rest[remaining(len(rest), drawn)]
    calibration = train[stratified(labels[train], _CALIBRATION, _SEED)]
    return {"test": test, "search": rest[drawn], "train": train, "calibration": calibration}
