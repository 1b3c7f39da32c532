"""Tables of stored pictures (parquet files, a library's data set) and the splits made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from autocomp.data.split import Split
from autocomp.data.splits import CALIBRATION_SIZE, DataSplits
from autocomp.data.stratify import remaining, stratified
from autocomp.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LARGEST_SEARCH, _SEED = 5000, 0


class ImageTable(Protocol):
    """Pictures and labels by row; the labels can be read without decoding any picture."""

    def labels(self) -> Tensor:
        """Returns all labels, `(N,)` integers."""
        ...

    def images(self, rows: Tensor) -> Tensor:
        """Returns the pictures of `rows`, in that order, `(len(rows), 3, H, W)` uint8."""
        ...


def splits_of_tables(
    name: str,
    train: ImageTable,
    search: ImageTable | None,
    test: Callable[[], ImageTable],
    calibration: int = CALIBRATION_SIZE,
) -> DataSplits:
    """Returns the splits; only the labels of `train` and `search` are read.

    Without a search table, 5,000 training images (10 % where that is less) are kept out as the
    search split. Calibration is drawn from the other training images, train is all that is left
    then. Both draws are seeded and keep each class's share. Normalisation is ImageNet's.

    Args:
        name: what the data set is called in messages.
        train: the training pictures.
        search: the validation pictures, if there are any.
        test: opens the test pictures; called when the test split is first read.
        calibration: how many images the calibration split gets.

    Raises:
        DataError: if the training table is too small, or `calibration < 1`.
    """
    labels = train.labels()
    if len(labels) < 2:
        raise DataError(f"{name}: at least 2 training images are needed, but got {len(labels)}.")
    free, largest = torch.arange(len(labels)), int(labels.max())
    if search is None:
        kept = stratified(labels, min(_LARGEST_SEARCH, max(1, len(labels) // 10)), _SEED)
        free = remaining(len(labels), kept)
        search_split = _split(partial(_read, train, kept), f"{name} search")
    else:
        search_labels = search.labels()
        if len(search_labels) == 0:
            raise DataError(f"{name}: the validation table is empty. Fill it, or take it away.")
        largest = max(largest, int(search_labels.max()))
        search_split = _split(partial(_read, search, None), f"{name} search")
    chosen = stratified(labels[free], calibration, _SEED)
    left = free[remaining(len(free), chosen)]
    return DataSplits(
        name,
        _split(partial(_read, train, free[chosen]), f"{name} calibration"),
        search_split,
        _split(partial(_open_and_read, test), f"{name} test"),
        n_classes=largest + 1,
        train=_split(partial(_read, train, left), f"{name} train") if len(left) else None,
    )


def stacked(pictures: Iterable[tuple[str, Callable[[], Any]]]) -> Tensor:
    """Returns pictures as one `(N, 3, H, W)` uint8 tensor, converted to RGB.

    Args:
        pictures: where each stands (for messages), and what opens it as a PIL image.

    Raises:
        DataError: if a picture cannot be decoded, or its size differs from the first one's.
    """
    arrays: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    for where, opened in pictures:
        try:
            array = np.asarray(opened().convert("RGB"), dtype=np.uint8)
        except Exception as problem:  # decoders meet damaged files in any way
            raise DataError(
                f"{where}: the image cannot be decoded ({type(problem).__name__}). Store it again "
                "as a PNG or JPEG, or drop the row."
            ) from problem
        if arrays and array.shape != arrays[0].shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (arrays[0].shape, array.shape)]
            raise DataError(
                f"{where}: images must share one size, but this is {sizes[1]} and the first "
                f"{sizes[0]} pixels. Resize them before storing."
            )
        arrays.append(array)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def checked_labels(values: Any, where: str) -> Tensor:
    """Returns a column of labels as int64.

    Raises:
        DataError: if a label is missing or not an integer.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise DataError(
            f"{where}: labels must be one integer a row, but the column holds {array.dtype} "
            f"of shape {array.shape}. Store class numbers from 0, with no gaps in the column."
        )
    return torch.from_numpy(array.astype(np.int64))


def _split(loader: Callable[[], tuple[Tensor, Tensor]], name: str) -> Split:
    return Split(loader, name, MEAN, STD)


def _read(table: ImageTable, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    labels = table.labels()
    if len(labels) == 0:
        raise DataError("A split without rows cannot be used. Store at least one image in it.")
    rows = torch.arange(len(labels)) if rows is None else rows
    return table.images(rows), labels[rows]


def _open_and_read(opened: Callable[[], ImageTable]) -> tuple[Tensor, Tensor]:
    return _read(opened(), None)
