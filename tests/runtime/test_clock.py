"""The one clock, with made-up time."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocomp.errors import ModelError
from autocomp.runtime.clock import ENOUGH, WARM_UP, interleaved, median_time


def clock_of(durations: list[int]) -> Callable[[], int]:
    """A clock for one function: read once at first, then before and after each call."""
    steps = (step for duration in durations for step in (0, duration))
    now = itertools.accumulate(steps, initial=0)
    return lambda: next(now)


def ticking(step: int) -> Callable[[], int]:
    now = itertools.count(0, step)
    return lambda: next(now)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=4))
def test_the_median_of_repeats(durations: list[int]) -> None:
    calls: list[str] = []
    found = median_time(
        lambda: calls.append("run"), len(durations), clock_of(durations),
        lambda: calls.append("before"),
    )  # fmt: skip
    ordered, half = sorted(durations), len(durations) // 2
    middle = ordered[half : half + 1] if len(durations) % 2 else ordered[half - 1 : half + 1]
    assert found == sum(middle) // len(middle)
    assert calls == ["run"] * WARM_UP + ["before", "run"] * len(durations)


def test_turns_are_taken() -> None:
    calls: list[int] = []
    times = interleaved([lambda: calls.append(1), lambda: calls.append(2)], 3, ticking(7))
    assert calls == [1] * WARM_UP + [2] * WARM_UP + [1, 2] * 3
    assert times == [[7, 7, 7], [7, 7, 7]]


def test_what_takes_long_is_repeated_five_times() -> None:
    assert len(interleaved([lambda: None], 50, ticking(ENOUGH))[0]) == 5
    assert len(interleaved([lambda: None], 3, ticking(ENOUGH))[0]) == 3
    assert len(interleaved([lambda: None], 50, ticking(1))[0]) == 50


def test_no_repeats() -> None:
    with pytest.raises(ModelError, match="`repeats` must be at least 1, but got 0"):
        median_time(lambda: None, 0)


def test_what_comes_before_a_call_takes_no_time() -> None:
    now = [0]

    def later(by: int) -> None:
        now[0] += by

    found = interleaved([lambda: later(3)], 2, lambda: now[0], lambda: later(1000))
    assert found == [[3, 3]]


def test_the_time_for_all_grows_with_their_number() -> None:
    """One function of three takes a quarter of `ENOUGH`: 13 turns exceed three times as much."""
    now = [0]

    def slow() -> None:
        now[0] += ENOUGH // 4

    assert [len(x) for x in interleaved([slow], 50, lambda: now[0])] == [5]
    turns = interleaved([slow, lambda: None, lambda: None], 50, lambda: now[0])
    assert turns == [[ENOUGH // 4] * 13, [0] * 13, [0] * 13]
