from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.budget import Budget, parse_budgets
from autocomp.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "cost", "limit", "ratio"),
    [
        ("size=8%", "size", 0.08, True),
        (" size = 8 % ", "size", 0.08, True),
        ("size=0.08", "size", 0.08, True),
        ("size=.08", "size", 0.08, True),
        ("size=100%", "size", 1.0, True),
        ("size=12.5%", "size", 0.125, True),
        ("size=1", "size", 1, False),
        ("size=60000", "size", 60_000, False),
        ("size=500B", "size", 500, False),
        ("size=500bytes", "size", 500, False),
        ("size=60kB", "size", 60_000, False),
        ("size=60KB", "size", 60_000, False),
        ("size=60 kB", "size", 60_000, False),
        ("size=1.5MB", "size", 1_500_000, False),
        ("size=2GB", "size", 2_000_000_000, False),
        ("size=60KiB", "size", 61_440, False),
        ("size=1.5MiB", "size", 1_572_864, False),
        ("size=1GiB", "size", 1_073_741_824, False),
        ("size=0.5kB", "size", 500, False),
        ("size=6e4", "size", 60_000, False),
        ("size=1E-1", "size", 0.1, True),
        ("macs=20M", "macs", 20_000_000, False),
        ("macs=20MMACs", "macs", 20_000_000, False),
        ("macs=20MACs", "macs", 20, False),
        ("params=50k", "params", 50_000, False),
        ("params=50params", "params", 50, False),
        ("bitops=1.5G", "bitops", 1_500_000_000, False),
        ("bitops=2TBitOps", "bitops", 2_000_000_000_000, False),
        ("bitops=2GOps", "bitops", 2_000_000_000, False),
        ("my-cost.v2=3", "my-cost.v2", 3, False),
    ],
)
def test_every_form(text: str, cost: str, limit: float, ratio: bool) -> None:
    assert Budget.parse(text) == Budget(cost, limit, ratio)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size", r"must read COST=LIMIT, as size=8% or size=60kB; got 'size'"),
        ("size8%", r"COST=LIMIT"),
        ("=8%", r"COST=LIMIT"),
        ("", r"COST=LIMIT"),
        ("size=8%%", r"COST=LIMIT"),
        ("size=8% macs=5%", r"COST=LIMIT"),
        ("size==8%", r"must be a number with a unit"),
        ("size=", r"must be a number with a unit, as 8% or 60kB; got 'size='"),
        ("size=%", r"must be a number with a unit"),
        ("size=kB", r"must be a number with a unit"),
        ("size=nan", r"must be a number with a unit.*'size=nan'"),
        ("size=inf", r"must be a number with a unit.*'size=inf'"),
        ("size=1,5%", r"must be a number with a unit"),
        ("size=--5%", r"must be a number with a unit"),
        ("size=0", r"above 0 and finite, but got size=0;"),
        ("size=0%", r"above 0 and finite, but got size=0;"),
        ("size=0kB", r"above 0 and finite, but got size=0;"),
        ("size=-5%", r"above 0 and finite, but got size=-0\.05;"),
        ("size=-60kB", r"above 0 and finite, but got size=-60000;"),
        ("size=-3", r"above 0 and finite, but got size=-3;"),
        ("size=1e999", r"above 0 and finite, but got 'size=1e999';"),
        ("size=101%", r"at most 100 %, but got size=1\.01 \(101%\)"),
        ("size=150%", r"at most 100 %, but got size=1\.5 \(150%\)"),
        ("size=5parsec", r"unit must be %, B, kB.*got 'parsec' in 'size=5parsec'"),
        ("size=5kb", r"unit must be .*got 'kb'"),
        ("size=5m", r"unit must be .*got 'm'"),
        ("macs=5MB", r"unit MB measures size and weight_memory alone, but got 'macs=5MB'; use k"),
        ("params=5bytes", r"unit bytes measures size and weight_memory alone"),
        ("size=5MMACs", r"unit MMACs measures macs alone"),
        ("macs=5BitOps", r"unit BitOps measures bitops alone"),
        ("macs=5params", r"unit params measures params alone"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message) as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf, 0.0, -1.0])
@pytest.mark.parametrize("ratio", [True, False])
def test_a_budget_is_checked_when_it_is_made(limit: float, ratio: bool) -> None:
    with pytest.raises(BudgetError, match="above 0 and finite"):
        Budget("size", limit, ratio)


def test_a_ratio_is_at_most_one() -> None:
    assert Budget("size", 1.0, True).absolute(77) == 77
    with pytest.raises(BudgetError, match="100 %"):
        Budget("size", 1.0001, True)


def test_the_limit_is_rounded_down() -> None:
    assert Budget("size", 0.08, True).absolute(1000) == 80
    assert Budget("size", 0.0899, True).absolute(100) == 8
    assert Budget("size", 0.29, True).absolute(100) == 29  # 0.29 * 100 is 28.999999999999996
    assert Budget("size", 99.9, False).absolute(5) == 99


@given(st.integers(1, 10**9), st.sampled_from([("kB", 3), ("MB", 6), ("GB", 9)]))
def test_decimals_are_exact(thousandths: int, unit: tuple[str, int]) -> None:
    """8.29 kB are 8290 bytes, although 8.29 * 1000 < 8290 in binary."""
    text = f"size={thousandths // 1000}.{thousandths % 1000:03}{unit[0]}"
    assert Budget.parse(text).absolute(0) == thousandths * 10 ** (unit[1] - 3)


@given(st.floats(1e-6, 1), st.floats(1, 1e15))
def test_its_text_reads_back(ratio: float, limit: float) -> None:
    read = Budget.parse(str(Budget("size", ratio, True)))
    assert read.ratio and read.limit == pytest.approx(ratio, abs=5e-9)
    read = Budget.parse(str(Budget("bitops", limit, False)))
    assert not read.ratio and read.limit == pytest.approx(limit, rel=1e-11)


def test_one_or_several() -> None:
    size, macs = Budget("size", 0.08, True), Budget("macs", 5e5, False)
    assert parse_budgets("size=8%") == (size,)
    assert parse_budgets(size) == (size,)
    assert parse_budgets("size=8%, macs=500k,") == (size, macs)
    assert parse_budgets(["size=8%", macs]) == (size, macs)
    assert parse_budgets(iter([size])) == (size,)


@pytest.mark.parametrize("nothing", ["", " , ", [], ()])
def test_at_least_one(nothing: str | list[str]) -> None:
    with pytest.raises(BudgetError, match="at least one budget, as size=8%"):
        parse_budgets(nothing)


def test_one_a_cost() -> None:
    with pytest.raises(BudgetError, match="one budget, but 'size' has several"):
        parse_budgets("size=8%,macs=50%,size=9%")
