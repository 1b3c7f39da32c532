"""Parquet files of pictures, as Hugging Face stores CIFAR-10 and other image data sets."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autocomp.data.image_table import checked_labels, splits_of_tables, stacked
from autocomp.data.splits import CALIBRATION_SIZE, DataSplits
from autocomp.errors import DataError
from autocomp.plugins.imports import describe, optional_import
from autocomp.storage.paths import user_path

IMAGE_COLUMNS, LABEL_COLUMNS = ("img", "image"), ("label", "fine_label")


def cifar10(folder: str | Path, *, calibration: int = CALIBRATION_SIZE) -> DataSplits:
    """Parquet files `train-*`, `validation-*`, `test-*` of images in FOLDER, as from Hugging Face.

    Columns: `img` or `image` (struct of `bytes` and `path`), `label` or `fine_label`. All images
    must share one size, which need not be CIFAR's. Images are `(N, 3, H, W)` uint8, normalised
    with ImageNet's mean and std. Without a validation file, 5,000 training images (10 % where that
    is less) become the search split and leave calibration and `train`. A network that was trained
    elsewhere has probably seen them: its search accuracy is then too high, its test accuracy
    not. Only labels are read here.

    Args:
        folder: the folder that holds the files; shards are taken in the order of their names.
        calibration: how many training images the calibration split gets; train is the others.

    Raises:
        DataError: if the folder, its files or a column are missing, if a file is damaged, or if
            pyarrow or pillow are; on the first use of a split, if an image is damaged.
    """
    optional_import("pyarrow.parquet", "parquet", DataError)
    optional_import("PIL.Image", "parquet", DataError)
    root = user_path(folder, "data", DataError)
    if not root.is_dir():
        raise DataError(f"The folder {str(folder)!r} does not exist. Give one of parquet files.")
    shards = {part: sorted(root.glob(f"{part}-*.parquet")) for part in ("train", "test")}
    for part, files in shards.items():
        if not files:
            raise DataError(
                f"The folder {str(folder)!r} has no {part}-*.parquet. Give a folder in the "
                "Hugging Face layout: train-*.parquet, test-*.parquet, perhaps validation-*."
            )
    validation = sorted(root.glob("validation-*.parquet"))
    return splits_of_tables(
        "cifar10",
        ParquetTable(shards["train"]),
        ParquetTable(validation) if validation else None,
        partial(ParquetTable, shards["test"]),
        calibration,
    )


class ParquetTable:
    """The rows of one or several parquet files, one after the other.

    Args:
        files: the files in order, at least one; the columns are looked up in each.

    Raises:
        DataError: if a file is no parquet file or lacks a column.
    """

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._columns = [_columns(file) for file in files]

    def labels(self) -> Tensor:
        """Returns all labels, `(N,)` int64; no picture is read.

        Raises:
            DataError: if a label is missing or not an integer.
        """
        parts = []
        for file, (_, label) in zip(self._files, self._columns, strict=True):
            column = _open(file).read(columns=[label]).column(label)
            parts.append(checked_labels(column.to_numpy(), f"{file.name}, column {label!r}"))
        return torch.cat(parts)

    def images(self, rows: Tensor) -> Tensor:
        """Returns the pictures of `rows`, in that order, `(len(rows), 3, H, W)` uint8.

        Raises:
            DataError: if a picture cannot be decoded, or sizes differ; the row is named.
        """
        order = torch.argsort(rows)
        rising = stacked(self._pictures(rows[order].tolist()))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return rising[back]

    def _pictures(self, rows: list[int]) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yields where each picture stands and what opens it, for rising `rows`."""
        image = optional_import("PIL.Image", "parquet", DataError)
        for file, group, start, stop, first in self._groups():
            wanted = [row - start for row in rows if start <= row < stop]
            if not wanted:
                continue
            column = self._columns[self._files.index(file)][0]
            table = _open(file).read_row_group(group, columns=[column])
            cells = table.column(column).take(wanted).to_pylist()
            for row, cell in zip(wanted, cells, strict=True):
                where = f"{file.name}, row {start + row - first}"
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                if not isinstance(data, bytes):
                    raise DataError(f"{where}: the image has no bytes. Store them in the file.")
                yield where, partial(image.open, io.BytesIO(data))

    def _groups(self) -> Iterator[tuple[Path, int, int, int, int]]:
        """Yields file, row group, its first row, the one after its last, the file's first row."""
        row = 0
        for file in self._files:
            metadata, first = _open(file).metadata, row
            for group in range(metadata.num_row_groups):
                size = metadata.row_group(group).num_rows
                yield file, group, row, row + size, first
                row += size


def _open(file: Path) -> Any:
    parquet = optional_import("pyarrow.parquet", "parquet", DataError)
    arrow = optional_import("pyarrow", "parquet", DataError)
    try:
        return parquet.ParquetFile(file)
    except (OSError, arrow.ArrowException) as problem:
        raise DataError(
            f"{str(file)!r} cannot be read as parquet ({describe(problem)}). Download it again."
        ) from problem


def _columns(file: Path) -> tuple[str, str]:
    """Returns the names of the image and label columns."""
    present = list(_open(file).schema_arrow.names)
    found = []
    for kind, candidates in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        name = next((name for name in candidates if name in present), None)
        if name is None:
            raise DataError(
                f"{file.name}: no {kind} column; it has {', '.join(present) or 'none'}. "
                f"Rename it to {' or '.join(map(repr, candidates))}."
            )
        found.append(name)
    return found[0], found[1]
