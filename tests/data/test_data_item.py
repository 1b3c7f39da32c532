"""Batches and items as people have them; nothing of them is dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autocomp.core.structured import leaves_of
from autocomp.data.adapt import as_split
from autocomp.errors import DataError

X, Y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])


class Items(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


class Columns:
    """What a `datasets.Dataset` looks like: no torch Dataset, rows are mappings."""

    column_names = ["pixels", "label"]

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": X[index].tolist(), "label": int(Y[index])}


def generated() -> Iterator[tuple[Tensor, Tensor]]:
    yield X[:4], Y[:4]
    yield X[4:], Y[4:]


def mappings() -> list[dict[str, Any]]:
    return [{"pixels": x, "label": y} for x, y in zip(X, Y, strict=True)]


@pytest.mark.parametrize(
    "source",
    [
        (X.tolist(), Y.tolist()),
        [X.tolist(), Y.tolist()],
        (X.numpy(), Y.tolist()),
        generated(),
        list(generated()),
        [{"x": X[:2], "labels": Y[:2]}, {"x": X[2:], "labels": Y[2:].tolist()}],
        Items(mappings()),
        Items([(x.tolist(), int(y)) for x, y in zip(X, Y, strict=True)]),
        DataLoader(Items(mappings()), batch_size=4),
        Columns(),
    ],
    ids=lambda source: type(source).__name__,
)
def test_every_form_gives_the_same_split(source: Any) -> None:
    split = as_split(source, "mine")
    (images,) = leaves_of(split.images)
    assert torch.equal(images, X) and images.dtype == torch.float32
    assert torch.equal(split.labels, Y)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((X[0], Y[0], torch.ones(2)), r"item 0 .* 3 elements.*Tensor of shape \(2,\)"),
        ((X[0], Y[0], "cat.png"), "3 elements.*str"),
        ({"a": X[0], "b": "cat", "label": 0}, "'b': each input must be a tensor.*is a str"),
        ({"a": [X[0], X[1]], "b": X[0]}, "is a list of 2, as a DataLoader makes"),
        ({"label": 0}, "an entry of inputs beside labels, but has 'label'"),
        ({"a": X[0], "label": 0, "y": 0}, "at most one entry of labels"),
        ((), r"must be \(image, label\)"),
        ((X[0], "cat"), "a label must be a number.*is a str"),
        (([[1.0], [1.0, 2.0]], 0), "rows of one length"),
    ],
)  # fmt: skip
def test_what_is_not_used_is_named(item: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        len(as_split(Items([item]), "mine"))


def test_two_tuples_of_tensors_are_not_taken_for_batches() -> None:
    with pytest.raises(DataError, match="inputs and labels are tuple and tuple"):
        as_split(((X, X), (Y, Y)), "mine")


def test_an_iterable_that_is_empty_or_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from autocomp.data.adapt import Held

    with pytest.raises(DataError, match="is empty"):
        len(as_split(iter([]), "mine"))

    def endless() -> Iterator[Any]:
        while True:
            yield X, Y

    monkeypatch.setattr(Held, "most_samples", 100)
    with pytest.raises(DataError, match="this source gives more"):
        len(as_split(endless(), "mine"))


def test_integers_stay_token_numbers() -> None:
    split = as_split(([[1, 2], [3, 4]], np.array([0, 1])), "mine")
    assert split.images.dtype == torch.int64
