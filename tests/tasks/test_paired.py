"""The paired difference of two accuracies: by hand, and as a property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.tasks.paired import PairedAccuracy


def test_by_hand() -> None:
    first = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 1, 1]).bool()
    second = torch.tensor([1, 1, 0, 0, 1, 0, 0, 0, 1, 0]).bool()
    found = PairedAccuracy.of(first, second)
    # three that only the first gets right, one that only the second does, of ten
    error = math.sqrt(3 + 1 - 4 / 10) / 10
    assert (found.difference, found.n) == (0.2, 10)
    assert found.low == pytest.approx(0.2 - 1.959964 * error)
    assert found.high == pytest.approx(0.2 + 1.959964 * error)


def test_equal_networks_do_not_differ() -> None:
    right = torch.tensor([1, 0, 1]).bool()
    assert PairedAccuracy.of(right, right) == PairedAccuracy(0.0, 0.0, 0.0, 3)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_is_the_mean_of_the_differences(pairs: list[tuple[bool, bool]]) -> None:
    first, second = torch.tensor(pairs).unbind(1)
    found, back = PairedAccuracy.of(first, second), PairedAccuracy.of(second, first)
    each = first.double() - second.double()
    assert found.difference == pytest.approx(float(each.mean()))
    error = float(each.var(correction=0).sqrt()) / math.sqrt(len(pairs))
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
