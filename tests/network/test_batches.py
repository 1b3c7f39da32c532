from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.data import Split
from autocomp.network.batches import Batches, equal_parts


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
