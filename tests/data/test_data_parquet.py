from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autocomp.data import load_data
from autocomp.data.parquet import cifar10
from autocomp.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pil = pytest.importorskip("PIL.Image")

SHARED = Path(os.environ.get("AUTOCOMP_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FOLDER = SHARED / "data" / "cifar10-jpeg"


def encoded(value: int, size: int = 6, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """One plain image whose pixels say which one it is."""
    picture = pil.fromarray(np.full((size, size, 3), value, dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def write(
    file: Path,
    values: list[int],
    images: list[bytes] | None = None,
    image: str = "img",
    label: str = "label",
    labels: list[Any] | None = None,
) -> None:
    cells = [{"bytes": data, "path": None} for data in images or [encoded(v) for v in values]]
    columns = {image: cells, label: labels or [v % 3 for v in values]}
    parquet.write_table(pa.table(columns), file, row_group_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train-00001-of-00002.parquet", list(range(20, 30)))
    write(tmp_path / "train-00000-of-00002.parquet", list(range(20)))
    write(tmp_path / "validation-00000-of-00001.parquet", list(range(30, 36)))
    write(tmp_path / "test-00000-of-00001.parquet", list(range(40, 45)))
    return tmp_path


def test_labels_follow_their_images_over_shards_and_groups(folder: Path) -> None:
    splits = cifar10(folder, calibration=9)
    assert splits.train is not None
    assert splits.n_classes == 3
    parts = (splits.calibration, splits.train, splits.search, splits.test)
    assert [part.reads for part in parts] == [0, 0, 0, 0]
    seen = []
    for part in parts:
        values = part.images[:, 0, 0, 0].long()
        assert part.images.dtype == torch.uint8 and part.images.shape[1:] == (3, 6, 6)
        assert torch.equal(part.labels, values % 3)
        seen.append(set(values.tolist()))
    assert seen[0] | seen[1] == set(range(30)) and len(seen[0]) == 9 and len(seen[1]) == 21
    assert seen[2] == set(range(30, 36)) and seen[3] == set(range(40, 45))
    assert splits.calibration.labels.bincount().tolist() == [3, 3, 3]
    value = float(splits.search.batch([0])[0][0, 1, 0, 0])
    assert value == pytest.approx((30 / 255 - 0.456) / 0.224, abs=1e-5)


def test_without_validation_a_part_of_train_is_kept_out(folder: Path) -> None:
    (folder / "validation-00000-of-00001.parquet").unlink()
    first, again = cifar10(folder, calibration=6), cifar10(folder, calibration=6)
    assert first.train is not None
    values = [
        set(part.images[:, 0, 0, 0].tolist())
        for part in (first.search, first.calibration, first.train)
    ]
    assert [len(found) for found in values] == [3, 6, 21]
    assert set.union(*values) == set(range(30))
    assert first.search.fingerprint() == again.search.fingerprint()


def test_all_of_train_may_be_calibration(folder: Path) -> None:
    splits = cifar10(folder)
    assert splits.train is None and len(splits.calibration) == 30


def test_only_the_chosen_rows_are_decoded(folder: Path) -> None:
    images = [encoded(i) for i in range(30)]
    good = set(cifar10(folder, calibration=3).calibration.images[:, 0, 0, 0].tolist())
    images = [data if i in good else b"broken" for i, data in enumerate(images)]
    for file in folder.glob("train-*"):
        file.unlink()
    write(folder / "train-0.parquet", list(range(30)), images)
    splits = cifar10(folder, calibration=3)
    assert len(splits.calibration) == 3
    assert splits.train is not None
    with pytest.raises(DataError, match=r"train-0.parquet, row \d+: the image cannot be decoded"):
        len(splits.train)


def test_other_columns_grey_jpegs_and_paths_with_colons(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    grey = [encoded(v, size=40, kind="JPEG", mode="L") for v in range(8)]
    for part in ("train", "test"):
        write(folder / f"{part}-0.parquet", list(range(8)), grey, "image", "fine_label")
    splits = load_data(f"cifar10:{folder}")
    assert splits.test.reads == 0
    assert splits.calibration.images.shape[1:] == (3, 40, 40)


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'/nowhere' does not exist"):
        cifar10("/nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"has no train-\*.parquet"):
        cifar10(empty)
    write(empty / "train-0.parquet", [1, 2])
    with pytest.raises(DataError, match=r"has no test-\*.parquet"):
        cifar10(empty)
    write(empty / "test-0.parquet", [1, 2])
    write(empty / "validation-0.parquet", [1], image="picture")
    with pytest.raises(DataError, match="no image column; it has picture, label.*'img' or 'image'"):
        cifar10(empty)
    write(empty / "validation-0.parquet", [1], label="class")
    with pytest.raises(DataError, match="no label column; it has img, class"):
        cifar10(empty)
    (empty / "validation-0.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        cifar10(empty)
    with pytest.raises(DataError, match="1 <= n"):
        cifar10(folder, calibration=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, None]}, "labels must be one integer a row"),
        ({"labels": ["cat", "dog"]}, "labels must be one integer a row"),
        ({"images": [encoded(1), encoded(2, size=7)]}, "row 1: .*this is 7x7 and the first 6x6"),
        ({"images": [encoded(1), encoded(2)[:45]]}, "row 1: the image cannot be decoded"),
    ],
)
def test_bad_rows(folder: Path, changes: dict[str, Any], message: str) -> None:
    write(folder / "validation-00000-of-00001.parquet", [1, 2], **changes)
    with pytest.raises(DataError, match=message):
        len(cifar10(folder).search)


def test_pyarrow_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pyarrow is needed.*pip install 'autocomp\[parquet\]'"):
        cifar10(folder)


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the shared data in {FOLDER}")
def test_shared_cifar10() -> None:
    splits = load_data(f"cifar10:{FOLDER}")
    assert splits.n_classes == 10
    assert splits.calibration.images.shape == (512, 3, 32, 32)
    counts = splits.calibration.labels.bincount()
    assert int(counts.max() - counts.min()) <= 1
    assert splits.test.reads == splits.search.reads == 0
