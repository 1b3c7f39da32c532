"""The grid of scales: bfloat16 numbers, eight an octave, nearest or never below."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.artifacts.scales import (
    LARGEST,
    LEAST,
    MANTISSAS,
    grid_numbers,
    round_scale,
    round_scale_up,
    scale_codes,
    scale_from_codes,
)

STEPS = st.lists(st.floats(2.0**-126, 2.0**127, width=32), min_size=1, max_size=40)


def test_the_whole_grid() -> None:
    assert tuple(round(128 * 2 ** (j / 8)) for j in range(8)) == MANTISSAS
    codes = np.arange(LEAST, LARGEST + 1, dtype=np.int32)
    grid = scale_from_codes(codes)
    assert grid.dtype == torch.float32 and bool((grid[1:] > grid[:-1]).all())
    assert torch.equal(grid.to(torch.bfloat16).float(), grid)
    assert torch.isfinite(grid).all() and float(grid[0]) == 2.0**-126
    assert np.array_equal(grid_numbers(grid), codes)
    ratios = grid[1:].double() / grid[:-1].double()
    assert float(ratios.min()) > 1.08 and float(ratios.max()) < 1.1
    assert torch.equal(round_scale(grid), grid) and torch.equal(round_scale_up(grid), grid)


@given(STEPS)
def test_nearest_and_never_below(steps: list[float]) -> None:
    step = torch.tensor(steps, dtype=torch.float32)
    nearest, above = round_scale(step), round_scale_up(step)
    assert nearest.shape == above.shape == step.shape
    assert bool((above >= step).all())
    grid = scale_from_codes(np.arange(LEAST, LARGEST + 1, dtype=np.int32)).double()
    distance = (grid.log()[:, None] - step.double().log()).abs()
    found = (nearest.double().log() - step.double().log()).abs()
    assert torch.allclose(found, distance.amin(0), atol=1e-12)
    below = scale_from_codes(np.maximum(grid_numbers(above) - 1, LEAST))
    assert bool(((below < step) | (below == above)).all())


def test_by_hand() -> None:
    assert round_scale(torch.tensor([1.0, 1.04, 1.05, 0.6, 3.0])).tolist() == [
        1.0, 1.0, 1.09375, 0.59375, 3.078125,
    ]  # fmt: skip
    assert round_scale_up(torch.tensor([1.0, 1.001, 0.6])).tolist() == [1.0, 1.09375, 0.6484375]
    assert scale_from_codes(np.array([0, 8, -4], np.int32)).tolist() == [1.0, 2.0, 181 / 256]


def test_any_shape_and_the_ends() -> None:
    step = torch.tensor([[1e-40, 3.4e38]])
    assert round_scale(step).shape == (1, 2)
    assert round_scale(step)[0, 0] == 2.0**-126
    assert torch.isfinite(round_scale(step)).all() and torch.isfinite(round_scale_up(step)).all()
    assert round_scale(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0078125, 1.1, 1e-39, float("inf"), float("nan")])
def test_off_the_grid(value: float) -> None:
    assert scale_codes(torch.tensor([1.0, value])) is None
    with pytest.raises(ValueError, match="on the grid"):
        grid_numbers(torch.tensor([1.0, value]))


@pytest.mark.parametrize("code", [LEAST - 1, LARGEST + 1])
def test_numbers_outside_the_grid(code: int) -> None:
    with pytest.raises(ValueError, match=r"`-1008 <= code <= 1023` must hold"):
        scale_from_codes(np.array([0, code], np.int32))
