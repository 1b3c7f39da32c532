from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from autocomp.data import DataSplits, Split, as_splits
from autocomp.data.adapt import as_split
from autocomp.errors import DataError


def pair(n: int, largest: int = 2, size: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, size, size), torch.arange(n) % (largest + 1)


class Pairs(Dataset[Any]):
    """Counts reads; one random shift an item, as a transform has."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.reads = items, 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        image, label = self.items[index]
        return (image + torch.rand(()), label) if isinstance(image, Tensor) else (image, label)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from ()


class Unsized(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return index


def test_tuple_of_pairs() -> None:
    calibration, search, test = pair(6), pair(5, largest=3), pair(8, largest=7)
    splits = as_splits((calibration, search, test))
    assert splits.name == "user" and splits.train is None
    assert splits.n_classes == 4
    assert splits.test.reads == 0
    assert torch.equal(splits.search.images, search[0])
    assert splits.example_inputs(2).shape == (2, 1, 4, 4)
    splits.check_labels(splits.search)
    with pytest.raises(DataError, match="user test: .*n_classes=4.*one is 7"):
        splits.check_labels(splits.test)


def test_mapping_with_train_draws_the_calibration() -> None:
    splits = as_splits({"train": pair(600), "val": pair(5), "test": pair(4)}, name="mine")
    assert splits.train is not None and len(splits.train) == 600
    assert len(splits.calibration) == 512
    assert splits.search.name == "mine search"


def test_mapping_with_both() -> None:
    thing = {"train": pair(9), "calibration": pair(3), "validation": pair(5), "test": pair(4)}
    splits = as_splits(thing)
    assert splits.train is not None
    assert (len(splits.train), len(splits.calibration), len(splits.search)) == (9, 3, 5)


def test_arrays_and_splits_and_identity() -> None:
    images = np.zeros((4, 1, 2, 2), dtype=np.float64)
    labels = np.array([0, 1, 2, 3], dtype=np.uint8)
    test = Split.of(torch.zeros(1, 1, 2, 2), torch.tensor([0]), "kept")
    splits = as_splits([(images, labels), (images[::-1], labels), test])
    assert splits.test is test
    assert splits.calibration.images.dtype == torch.float32
    assert splits.n_classes == 4
    assert as_splits(splits) is splits


def test_datasets_are_lazy_and_leave_the_random_state() -> None:
    items = [(torch.zeros(1, 2, 2), i % 3) for i in range(6)]
    first, again, test = Pairs(items), Pairs(items), Pairs(items)
    before = torch.random.get_rng_state()
    splits = as_splits((first, again, test))
    assert (first.reads, again.reads, test.reads) == (6, 6, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(splits.calibration.images, splits.search.images)
    assert len(splits.test) == 6 and test.reads == 6


def test_loaders_repeat_though_they_shuffle() -> None:
    data = TensorDataset(*pair(10))
    loaders = [DataLoader(data, batch_size=4, shuffle=True) for _ in range(3)]
    splits = as_splits(loaders)
    assert len(splits.calibration) == 10
    assert splits.test.reads == 0
    assert splits.calibration.fingerprint() == splits.search.fingerprint()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "a int is not a data set.*mapping"),
        ((pair(2), pair(2)), "tuple of length 2"),
        ({"train": pair(2), "test": pair(2)}, "no search split"),
        ({"search": pair(2)}, "no calibration and no test split"),
        ({"trian": pair(2)}, "'trian' is not a split's name.*Known: calibration"),
        ({"val": pair(2), "validation": pair(2)}, "again"),
        ((pair(2), pair(2), 7), "user test: a int is not a split.*DataLoader"),
        ((({"x": "cat"}, torch.zeros(2)), pair(2), pair(2)), "input must be a tensor.*is a str"),
        ((Endless(), pair(2), pair(2)), "IterableDataset"),
        ((Unsized(), pair(2), pair(2)), "__len__"),
        ((pair(2), pair(2, size=5), pair(2)), r"\(1, 4, 4\) but search.*\(1, 5, 5\)"),
        ((Pairs([]), pair(2), pair(2)), "Dataset is empty"),
        ((Pairs([("a", 1)]), pair(2), pair(2)), "item 0: the image must be a tensor.*str"),
        (
            (Pairs([(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 3, 3), 0)]), pair(2), pair(2)),
            "item 1 has",
        ),
    ],
)
def test_what_is_no_data_set(thing: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_splits(thing)
    assert "\n" not in str(caught.value)


def test_limits_of_the_dataclass() -> None:
    split = Split.of(*pair(3), "s")
    with pytest.raises(DataError, match="n_classes >= 1"):
        DataSplits("d", split, split, split, n_classes=0)
    splits = DataSplits("d", split, split, split, n_classes=3)
    with pytest.raises(DataError, match="1 <= n <= 3"):
        splits.example_inputs(4)


class Samples(Dataset[Any]):
    """Images with a label of any shape."""

    def __init__(self, images: Tensor, labels: list[Any]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.images[index], self.labels[index]


class Streamed(IterableDataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("label", [int, torch.tensor, lambda y: torch.tensor([y])])
def test_a_loader_without_batches_gives_samples(channels: int, label: Any) -> None:
    images = torch.randn(6, channels, 4, 4)
    loader = DataLoader(Samples(images, [label(i % 2) for i in range(6)]), batch_size=None)
    split = as_split(loader, "mine")
    assert torch.equal(split.images, images) and split.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3), (4, 1)])
def test_a_loader_without_batches_gives_batches(channels: int, sizes: tuple[int, ...]) -> None:
    batches = [(torch.randn(n, channels, 4, 4), torch.arange(n)) for n in sizes]
    split = as_split(DataLoader(Streamed(batches), batch_size=None), "mine")
    assert torch.equal(split.images, torch.cat([images for images, _ in batches]))


def test_batches_of_unlike_images_are_refused() -> None:
    batches = [
        (torch.randn(2, 3, 4, 4), torch.arange(2)),
        (torch.randn(2, 3, 5, 4), torch.arange(2)),
    ]
    with pytest.raises(DataError, match=r"batch 1 has images \(2, 3, 5, 4\)"):
        _ = as_split(DataLoader(Streamed(batches), batch_size=None), "mine").images
