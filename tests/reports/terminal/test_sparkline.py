"""Numbers as blocks: closed forms, and what holds for any numbers."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autocomp.reports.terminal.grid import grid
from autocomp.reports.terminal.sparkline import BLOCKS, bar, sparkline, thin
from autocomp.reports.terminal.strokes import Strokes

NUMBERS = st.floats(-1e6, 1e6)


def test_eight_values_take_the_eight_blocks() -> None:
    assert sparkline(range(8)) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 0]) == "█▁"
    assert sparkline([0, 0.5, 1]) == "▁▅█"


def test_given_ends() -> None:
    assert sparkline([0.0, 1.0], low=-1, high=1) == "▅█"
    assert sparkline([-5.0, 5.0], low=0, high=1) == "▁█"


def test_what_is_equal_lies_in_the_middle_and_what_is_missing_is_a_gap() -> None:
    assert sparkline([2, 2, 2]) == "▄▄▄"
    assert sparkline([None, 0, math.nan, 1, math.inf]) == " ▁ █ "
    assert sparkline([None, math.nan]) == "  "
    assert sparkline([]) == ""


@given(st.lists(NUMBERS, min_size=1, max_size=50), st.integers(1, 20))
def test_order_and_width(values: list[float], width: int) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == min(len(values), width)
    if len(values) <= width and min(values) < max(values):
        levels = [BLOCKS.index(block) for block in drawn]
        for a, b, x, y in zip(values, values[1:], levels, levels[1:], strict=False):
            assert x <= y if a <= b else x >= y
        assert levels[values.index(min(values))] == 0
        assert levels[values.index(max(values))] == 7


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0, ""), (1, "████"), (0.5, "██"), (0.53125, "██▏"), (0.001, "▏"), (7, "████"), (-1, ""),
        (math.nan, ""), (0.96875, "███▉"),
    ],
)  # fmt: skip
def test_bars(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_thin_keeps_both_ends() -> None:
    assert thin(range(101), 3) == [0, 50, 100]
    assert thin([1, 2], 5) == [1, 2]
    assert thin([1, 2, 3], 1) == [3]


@given(st.lists(st.integers(), max_size=60), st.integers(2, 20))
def test_thin_picks_in_order(items: list[int], most: int) -> None:
    numbered = list(enumerate(items))
    picked = thin(numbered, most)
    assert picked == sorted(set(picked)) and len(picked) == min(most, len(items))
    assert not items or (picked[0] == numbered[0] and picked[-1] == numbered[-1])


def test_a_console_without_block_characters_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)
    table = grid("Bars", ("bar",), [[Strokes("▁▂▃▄▅▆▇█▌", "[b]x")]])
    Console(file=file, width=40).print(table)
    text = file.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert text.isascii() and "_.,-=+*#" in text and "[b]x" in text
