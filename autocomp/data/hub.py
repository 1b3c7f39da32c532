"""Data sets of other libraries, where they are installed: Hugging Face datasets and torchvision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autocomp.data.image_table import checked_labels, splits_of_tables, stacked
from autocomp.data.parquet import IMAGE_COLUMNS, LABEL_COLUMNS
from autocomp.data.splits import CALIBRATION_SIZE, DataSplits
from autocomp.errors import DataError
from autocomp.plugins.imports import describe, optional_import

_VALIDATION = ("validation", "valid", "val")


def datasets_library(name_or_path: str, *, calibration: int = CALIBRATION_SIZE) -> DataSplits:
    """A data set of images by NAME or PATH, through Hugging Face's `datasets` library.

    Needs the splits `train` and `test`; without `validation`, a part of train becomes the search
    split. A folder that `save_to_disk` wrote is loaded as such. Columns as in `cifar10`.

    Args:
        name_or_path: what `datasets.load_dataset` takes, or a folder of `save_to_disk`.
        calibration: how many training images the calibration split gets.

    Raises:
        DataError: if the library is not installed, it cannot load the data set, or the data set
            lacks a split or a column.
    """
    library = optional_import("datasets", "datasets", DataError)
    saved = (Path(name_or_path) / "dataset_dict.json").is_file()
    load = library.load_from_disk if saved else library.load_dataset
    try:
        found = load(name_or_path)
    except Exception as problem:  # runs a builder of the library's, over the net and files
        raise DataError(
            f"`datasets` cannot load {name_or_path!r}: {describe(problem)}. Check the name or path."
        ) from problem
    present = [str(key) for key in found] if hasattr(found, "keys") else []
    for part in ("train", "test"):
        if part not in present:
            raise DataError(
                f"{name_or_path!r} has no {part!r} split; it has {', '.join(present) or 'none'}. "
                "Use a data set with both, or your own splits as `my_module:splits`."
            )
    search = next((part for part in _VALIDATION if part in present), None)
    return splits_of_tables(
        name_or_path,
        LibraryTable(found["train"], f"{name_or_path} train"),
        LibraryTable(found[search], f"{name_or_path} {search}") if search else None,
        partial(LibraryTable, found["test"], f"{name_or_path} test"),
        calibration,
    )


class LibraryTable:
    """One split of the `datasets` library as a table of pictures.

    Args:
        rows: the library's Dataset, with a column of PIL images and one of integer labels.
        name: what it is called in messages.

    Raises:
        DataError: if it has no image or no label column.
    """

    def __init__(self, rows: Any, name: str) -> None:
        self._rows, self._name = rows, name
        self._image = self._column("image", IMAGE_COLUMNS)
        self._label = self._column("label", LABEL_COLUMNS)

    def labels(self) -> Tensor:
        """Returns all labels, `(N,)` int64; no picture is decoded."""
        values = self._rows.select_columns([self._label])[self._label]
        return checked_labels(list(values), f"{self._name}, column {self._label!r}")

    def images(self, rows: Tensor) -> Tensor:
        """Returns the pictures of `rows`, in that order, `(len(rows), 3, H, W)` uint8."""
        return stacked(
            (f"{self._name}, row {row}", partial(self._picture, row)) for row in rows.tolist()
        )

    def _picture(self, row: int) -> Any:
        return self._rows[row][self._image]  # decoded here

    def _column(self, kind: str, candidates: tuple[str, ...]) -> str:
        present = list(self._rows.column_names)
        for name in candidates:
            if name in present:
                return name
        raise DataError(
            f"{self._name}: no {kind} column; it has {', '.join(present) or 'none'}. "
            f"Rename it to {' or '.join(map(repr, candidates))}."
        )


def torchvision_cifar10(folder: str | Path, *, calibration: int = CALIBRATION_SIZE) -> DataSplits:
    """CIFAR-10 that torchvision has downloaded into FOLDER before.

    5,000 training images become the search split and leave `train` (a network trained elsewhere
    has probably seen them).

    Args:
        folder: torchvision's `root`.
        calibration: how many training images the calibration split gets.

    Raises:
        DataError: if torchvision does not import, or the folder does not hold the files.
    """
    return _torchvision("CIFAR10", folder, calibration)


def torchvision_cifar100(folder: str | Path, *, calibration: int = CALIBRATION_SIZE) -> DataSplits:
    """CIFAR-100 that torchvision has downloaded into FOLDER before.

    As `torchvision_cifar10`, with the 100 fine labels.

    Args:
        folder: torchvision's `root`.
        calibration: how many training images the calibration split gets.

    Raises:
        DataError: as `torchvision_cifar10` does.
    """
    return _torchvision("CIFAR100", folder, calibration)


class TorchvisionTable:
    """One split of a torchvision CIFAR data set as a table of pictures.

    Args:
        kind: the class in `torchvision.datasets`.
        folder: its `root`.
        train: the training or the test pictures.

    Raises:
        DataError: if the folder does not hold the files.
    """

    def __init__(self, kind: str, folder: str | Path, train: bool) -> None:
        library = optional_import("torchvision.datasets", "torchvision", DataError)
        try:
            self._set = getattr(library, kind)(root=str(folder), train=train, download=False)
        except Exception as problem:  # unpickles files that may be damaged in any way
            raise DataError(
                f"torchvision finds no {kind} in {str(folder)!r} ({describe(problem)}). Download "
                f"it there: torchvision.datasets.{kind}(root=..., download=True)."
            ) from problem
        self._name = f"{kind} {'train' if train else 'test'}"

    def labels(self) -> Tensor:
        """Returns all labels, `(N,)` int64."""
        return checked_labels(self._set.targets, self._name)

    def images(self, rows: Tensor) -> Tensor:
        """Returns the pictures of `rows`, in that order, `(len(rows), 3, H, W)` uint8."""
        pixels = torch.from_numpy(self._set.data[rows.numpy()])
        return pixels.permute(0, 3, 1, 2).contiguous()


def _torchvision(kind: str, folder: str | Path, calibration: int) -> DataSplits:
    train = TorchvisionTable(kind, folder, train=True)
    test = partial(TorchvisionTable, kind, folder, train=False)
    return splits_of_tables(f"torchvision-{kind.lower()}", train, None, test, calibration)
