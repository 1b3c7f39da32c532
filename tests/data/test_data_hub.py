from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from autocomp.data import load_data
from autocomp.errors import DataError

pil = pytest.importorskip("PIL.Image")


class FakeRows:
    """What is used of `datasets.Dataset`; counts the images that were decoded."""

    def __init__(self, first: int, n: int, columns: tuple[str, str] = ("img", "label")) -> None:
        self.first, self.n, self.columns = first, n, columns
        self.column_names, self.decoded = list(columns), 0

    def select_columns(self, names: list[str]) -> dict[str, list[int]]:
        assert names == [self.columns[1]]
        return {names[0]: [(self.first + i) % 3 for i in range(self.n)]}

    def __getitem__(self, row: int) -> dict[str, Any]:
        self.decoded += 1
        pixels = np.full((4, 4, 3), (self.first + row) % 256, dtype=np.uint8)
        return {self.columns[0]: pil.fromarray(pixels)}


def fake_datasets(monkeypatch: pytest.MonkeyPatch, found: Any) -> list[str]:
    calls: list[str] = []

    def load(way: str) -> Any:
        def loader(name: str) -> Any:
            calls.append(f"{way} {name}")
            if isinstance(found, Exception):
                raise found
            return found

        return loader

    module = ModuleType("datasets")
    module.load_dataset, module.load_from_disk = load("hub"), load("disk")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_datasets_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = {
        "train": FakeRows(0, 600, ("image", "fine_label")),
        "valid": FakeRows(0, 5),
        "test": FakeRows(50, 4),
    }
    calls = fake_datasets(monkeypatch, parts)
    splits = load_data("datasets:some/name")
    assert calls == ["hub some/name"]
    assert splits.n_classes == 3 and splits.train is not None
    assert all(part.decoded == 0 for part in parts.values())
    assert len(splits.calibration) == 512 and parts["train"].decoded == 512
    assert splits.search.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert splits.test.reads == 0 and splits.test.images[0, 0, 0, 0] == 50
    (tmp_path / "dataset_dict.json").write_text("{}")
    load_data(f"datasets:{tmp_path}")
    assert calls[1] == f"disk {tmp_path}"


def test_datasets_library_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_datasets(monkeypatch, {"train": FakeRows(0, 40), "test": FakeRows(0, 4)})
    splits = load_data("datasets:x")
    assert (len(splits.search), len(splits.calibration)) == (4, 36)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"train": FakeRows(0, 4)}, "'x' has no 'test' split; it has train"),
        (FakeRows(0, 4), "no 'train' split; it has none"),
        (FileNotFoundError("not\nthere"), "cannot load 'x': FileNotFoundError: not there"),
        (
            {"train": FakeRows(0, 4, ("text", "label")), "test": FakeRows(0, 4)},
            "x train: no image column; it has text, label",
        ),
    ],
)
def test_datasets_library_errors(monkeypatch: pytest.MonkeyPatch, found: Any, message: str) -> None:
    fake_datasets(monkeypatch, found)
    with pytest.raises(DataError, match=message):
        load_data("datasets:x")


def test_libraries_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'autocomp\[datasets\]'"):
        load_data("datasets:x")
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataError, match=r"pip install 'autocomp\[torchvision\]'"):
        load_data("torchvision-cifar10:x")


def test_a_torchvision_that_does_not_match_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torchvision").mkdir()
    text = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision" / "__init__.py").write_text(text)
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"does not import \(RuntimeError: .*nms.*'autocomp\[torch"):
        load_data("torchvision-cifar10:x")


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_torchvision(monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    opened: list[bool] = []

    class Fake:
        def __init__(self, root: str, train: bool, download: bool) -> None:
            assert not download
            if root == "nowhere":
                raise RuntimeError("Dataset not found or corrupted.")
            opened.append(train)
            n = 40 if train else 5
            self.data = np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(4, 1)
            self.data = self.data.repeat(4, 2).repeat(3, 3)
            self.targets = [i % 4 for i in range(n)]

    module = ModuleType("torchvision.datasets")
    setattr(module, kind, Fake)
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    splits = load_data(f"torchvision-{name}:folder")
    assert splits.n_classes == 4 and opened == [True]
    assert splits.search.images.shape == (4, 3, 4, 4)
    assert splits.search.labels.tolist() == (splits.search.images[:, 0, 0, 0] % 4).tolist()
    assert splits.test.reads == 0 and len(splits.test) == 5 and opened == [True, False]
    with pytest.raises(DataError, match=f"no {kind} in 'nowhere'.*download=True"):
        load_data(f"torchvision-{name}:nowhere")
