"""The paired difference of two accuracies: by hand, and as a property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.tasks import Classification
from autocomp.tasks.paired import Paired, is_behind


def shares(right: torch.Tensor) -> torch.Tensor:
    """Returns the samples' shares in an accuracy."""
    outputs = torch.stack([~right, right], 1).float()
    measure = Classification().measure
    return measure.shares(measure.rows(outputs, torch.ones(len(right)).long(), outputs))


def paired(right: torch.Tensor, other: torch.Tensor) -> Paired:
    return Paired.of(shares(right), shares(other))


def test_by_hand() -> None:
    first = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 1, 1]).bool()
    second = torch.tensor([1, 1, 0, 0, 1, 0, 0, 0, 1, 0]).bool()
    found = paired(first, second)
    # three that only the first gets right, one that only the second does, of ten
    error = math.sqrt(3 + 1 - 4 / 10) / 10
    assert (found.difference, found.n) == (pytest.approx(0.2), 10)
    assert found.low == pytest.approx(0.2 - 1.959964 * error)
    assert found.high == pytest.approx(0.2 + 1.959964 * error)


def test_equal_networks_do_not_differ() -> None:
    right = torch.tensor([1, 0, 1]).bool()
    assert paired(right, right) == Paired(0.0, 0.0, 0.0, 3)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_is_the_mean_of_the_differences(pairs: list[tuple[bool, bool]]) -> None:
    first, second = torch.tensor(pairs).unbind(1)
    found, back = paired(first, second), paired(second, first)
    each = first.double() - second.double()
    assert found.difference == pytest.approx(float(each.mean()))
    error = float(each.var(correction=0).sqrt()) / math.sqrt(len(pairs))
    if len(pairs) == 1:  # nothing is known of how far it may be off
        assert found.high - found.low > 1e6
        return
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_behind_is_mcnemar(pairs: list[tuple[bool, bool]]) -> None:
    """a - b > 2.4 sqrt(a + b) with a images that only the other gets right, b that only this."""
    first, second = torch.tensor(pairs).unbind(1)
    lost, won = int((second & ~first).sum()), int((first & ~second).sum())
    edge = lost - won - 2.4 * math.sqrt(lost + won)
    if abs(edge) > 1e-9:
        assert is_behind(shares(first), shares(second)) == (edge > 0)
        assert is_behind(-shares(first), -shares(second), larger_is_better=False) == (edge > 0)
