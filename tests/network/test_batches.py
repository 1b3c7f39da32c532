from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.data import Split
from autocomp.network.batches import QUICK, Batches, equal_parts, fitting


@given(st.integers(0, 5000), st.integers(1, 700))
def test_parts_cover_everything_and_differ_by_one_at_most(n: int, largest: int) -> None:
    parts = list(equal_parts(n, largest))
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert len(sizes) == -(-n // largest)
    assert not sizes or (max(sizes) <= largest and max(sizes) - min(sizes) <= 1)


def test_batches_are_of_about_one_size() -> None:
    split = Split(lambda: (torch.zeros(512, 2), torch.arange(512)), "calibration")
    batches = list(Batches(split, 500, torch.device("cpu")))
    assert [len(images) for images, _ in batches] == [256, 256]
    assert torch.cat([labels for _, labels in batches if labels is not None]).tolist() == [
        *range(512)
    ]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (torch.zeros(1, 3, 32, 32), 1627),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1627),  # as data sets keep them
        (torch.zeros(1, 3, 224, 224, dtype=torch.uint8), 33),
        (torch.zeros(1, 128, dtype=torch.int64), 39),  # tokens become vectors
        (torch.zeros(1, 3, 4000, 4000, dtype=torch.uint8), 2),
    ],
)
def test_how_many_samples_make_a_batch(images: torch.Tensor, expected: int) -> None:
    assert fitting(images) == expected


def test_a_split_of_bytes_comes_in_whole_batches() -> None:
    images = torch.zeros(1000, 3, 32, 32, dtype=torch.uint8)
    split = Split(lambda: (images, None), "search", (0.5,) * 3, (0.5,) * 3)
    assert [len(x) for x, _ in Batches(split, 500, torch.device("cpu"))] == [500, 500]


def test_small_batches_are_for_images() -> None:
    bytes_ = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert fitting(bytes_, QUICK) == 100
    assert fitting(torch.zeros(1, 128, dtype=torch.int64), QUICK) == 39  # as ever
    split = Split(lambda: (torch.zeros(250, 3, 32, 32), None), "search")
    parts = Batches(split, 500, torch.device("cpu"), largest=QUICK)
    assert [len(x) for x, _ in parts] == [84, 83, 83]
