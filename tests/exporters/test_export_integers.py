"""Integer tensors of ONNX: packing, the narrowest type, the blocks of MatMulNBits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.quantized import Quantized
from autocomp.exporters.integers import Codes, Stored, blocks, packed, store


def test_packing_puts_the_first_number_lowest() -> None:
    assert packed(np.array([1, -1, 7]), 4) == bytes([0xF1, 0x07])
    assert packed(np.array([1, -2, 0, -1, 1]), 2) == bytes([0b11_00_10_01, 0b01])
    assert packed(np.array([-1, 2]), 8) == bytes([0xFF, 2])


@pytest.mark.parametrize(
    ("codes", "least", "name"),
    [
        ([[-2, 1], [0, 1]], 2, "int2"),
        ([[-2, 1], [0, 1]], 4, "int4"),
        ([[0, 3], [-3, 0]], 2, "uint2"),  # each row has its zero point
        ([[-3, 3], [0, 0]], 2, "int4"),
        ([[-8, 7], [0, 0]], 2, "int4"),
        ([[0, 15], [-15, 0]], 2, "uint4"),
        ([[-9, 7], [0, 0]], 2, "int8"),
        ([[0, 255], [-255, 0]], 2, "uint8"),
        ([[-32768, 0], [0, 1]], 2, "int16"),
        ([[0, 65535], [0, 1]], 2, "uint16"),
    ],
)
def test_the_narrowest_type(codes: list[list[int]], least: int, name: str) -> None:
    stored = store(Codes(np.array(codes), np.ones(2, np.float32), 0), least)
    assert stored is not None and stored.type_name == name


def test_no_type_holds_too_wide_codes() -> None:
    assert store(Codes(np.array([[0, 65536]]), np.ones(1, np.float32), None)) is None


@given(
    st.integers(1, 5), st.integers(1, 40), st.integers(2, 12), st.booleans(), st.integers(0, 999)
)
def test_what_is_stored_is_the_codes(
    rows: int, width: int, bits: int, one_scale: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shift = rng.integers(0, 2**bits, (1, 1) if one_scale else (rows, 1))
    values = rng.integers(0, 2**bits, (rows, width)) - shift
    scale = rng.random(1 if one_scale else rows).astype(np.float32)
    stored = store(Codes(values, scale, None if one_scale else 0))
    assert stored is not None
    zero = 0 if stored.zero is None else stored.along_axis(stored.zero)
    assert np.array_equal(stored.values - zero, values)
    half = 2 ** (stored.bits - 1)
    low, high = (-half, half - 1) if stored.zero is None else (0, 2 * half - 1)
    assert low <= stored.values.min() and stored.values.max() <= high


@given(
    st.sampled_from([2, 4, 8]), st.integers(1, 4), st.integers(1, 600), st.booleans(),
    st.integers(0, 999),
)  # fmt: skip
def test_blocks_hold_the_matrix(bits: int, rows: int, width: int, signed: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = 2 ** (bits - 1)
    values = rng.integers(-half, half, (rows, width)) + (0 if signed else half)
    zero = None if signed else rng.integers(0, 2 * half, rows)
    scale = rng.random(rows).astype(np.float32)
    size, weights, scales, zeros = blocks(Stored(bits, values, zero, scale, 0))
    per, n = 8 // bits, -(-width // size)
    shifts = np.arange(per) * bits
    unpacked = ((weights[..., None].astype(int) >> shifts) & (2**bits - 1)).reshape(rows, -1)
    points = ((zeros[..., None].astype(int) >> shifts) & (2**bits - 1)).reshape(rows, -1)[:, :n]
    found = (unpacked.reshape(rows, n, size) - points[..., None]) * scales[..., None]
    found = found.reshape(rows, -1)
    real = values - (0 if zero is None else zero[:, None])
    assert np.array_equal(found[:, :width], real * scale[:, None].astype(float))
    assert not found[:, width:].any()


def test_gains_leave_codes_and_make_positive_scales() -> None:
    codes = Codes(np.array([[1, -2], [3, 4], [5, 6]]), np.array([2.0], np.float32), None)
    scaled = codes.times(np.array([0.5, -3.0, 0.0]), 0)
    assert scaled.values.tolist() == [[1, -2], [-3, -4], [0, 0]]
    assert scaled.scale.tolist() == [1.0, 6.0, 1.0] and scaled.axis == 0


def test_scales_of_another_axis_are_refused() -> None:
    codes = Codes(np.ones((2, 3), np.int64), np.ones(3, np.float32), 1)
    with pytest.raises(ValueError, match="along axis 1, not 0"):
        codes.per_channel(0)


def test_codes_of_a_quantized_weight() -> None:
    values = torch.ones(2, 3, 1, 1, dtype=torch.int8)
    found = Codes.of(Quantized(values, torch.ones(1, 3, 1, 1)))
    assert found is not None and found.axis == 1 and found.scale.shape == (3,)
    found = Codes.of(Quantized(values, torch.ones(1, 1, 1, 1)))
    assert found is not None and found.axis is None
    assert Codes.of(Quantized(values, torch.ones(2, 3, 1, 1))) is None
