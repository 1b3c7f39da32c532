"""Reductions against the plain formula on all values at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autocomp.compression.saliency.reduction import REDUCTIONS

VALUES = torch.tensor([[[1.0, -2.0], [3.0, 4.0]], [[0.0, 2.0], [-1.0, -3.0]]])  # (2, 2, 2)


def reduced(name: str, *pieces: Tensor) -> Tensor:
    reduction = REDUCTIONS[name]()
    for piece in pieces:
        reduction.add(piece)
    return reduction.result()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sum", [0.5, 1.5]),
        ("mean", [0.25, 0.75]),
        ("max", [1.5, 1.5]),
        ("l2", [(5**0.5 + 2) / 2, (5 + 10**0.5) / 2]),
        ("abs_sum", [1.5, 5.5]),
        ("square_sum", [2.5, 32.5]),
        ("variance", [2.1875, 8.1875]),
        # x0 = (1, -2, 0, 2), x1 = (3, 4, -1, -3): distance sqrt(4 + 36 + 1 + 25)
        ("median_distance", [66**0.5, 66**0.5]),
        # x1 varies more; cov = (1*3 - 2*4 - 2*3) / 4 - 0.25 * 0.75
        ("redundancy", [(2.1875 * (1 - (-2.75 - 0.1875) ** 2 / (2.1875 * 8.1875))) ** 0.5,
                        8.1875**0.5]),
    ],
)  # fmt: skip
def test_by_hand(name: str, expected: list[float]) -> None:
    found = reduced(name, VALUES)
    assert found.dtype == torch.float64 and found.tolist() == pytest.approx(expected, rel=1e-6)
    assert reduced(name, VALUES[:1], VALUES[1:]).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_table_is_complete() -> None:
    known = {"sum", "mean", "max", "l2", "abs_sum", "square_sum", "variance", "redundancy"}
    assert set(REDUCTIONS) == known | {"median_distance"}


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6),
       st.floats(-100, 100))  # fmt: skip
def test_joint_reductions_in_pieces(
    n: int, units: int, places: int, seed: int, mean: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, units, places, generator=generator, dtype=torch.float64) + mean
    flat = values.transpose(0, 1).flatten(1)
    pieces = values.split(2)
    torch.testing.assert_close(reduced("variance", *pieces), flat.var(1, unbiased=False))
    distances = (flat[:, None] - flat[None]).square().sum(2).sqrt().sum(1)
    torch.testing.assert_close(reduced("median_distance", *pieces), distances, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(
        reduced("redundancy", *pieces), reduced("redundancy", values), atol=1e-6, rtol=1e-6
    )


def test_redundancy_finds_constants_and_multiples() -> None:
    """Of units that are multiples of one another the one that varies most stays."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    units = torch.stack([x, -3 * x + 5, torch.full_like(x, 7.0), y, -3 * x])
    found = reduced("redundancy", units.t()[..., None])
    sigma = float((3 * x).std(unbiased=False))
    assert found[[0, 4]].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert float(found[2]) == 0 and float(found[1]) == pytest.approx(sigma)
    rho = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    expected = float(y.std(unbiased=False)) * (1 - rho**2) ** 0.5
    assert float(found[3]) == pytest.approx(expected)


def test_equal_units_are_at_no_distance() -> None:
    values = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0)).expand(1, 3, 9)
    assert reduced("median_distance", values).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["sum", "variance", "median_distance"])
def test_nothing_seen(name: str) -> None:
    with pytest.raises(RuntimeError, match="after values were added"):
        reduced(name)
