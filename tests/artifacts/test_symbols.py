"""What codes take in a file, against what is charged for them."""

from __future__ import annotations

import constriction
import numpy as np
import pytest

from autocomp.artifacts.symbols import SymbolModel


@pytest.mark.parametrize("spread", [0.6, 2.0, 40.0])
@pytest.mark.parametrize("zeros", [0.0, 0.8])
def test_millions_of_codes_take_no_more_than_is_charged(spread: float, zeros: float) -> None:
    draw = np.random.default_rng(0)
    n = 4_000_000
    codes = np.round(draw.normal(0, spread, n)).astype(np.int32)
    codes[draw.random(n) < zeros] = 0
    model = SymbolModel.fit(codes)
    coder = constriction.stream.queue.RangeEncoder()
    model.encode(codes, coder)
    counts = np.bincount(codes - model.low, minlength=len(model.frequencies))
    real, charged = 32 * coder.num_words(), model.bits(counts)
    assert real <= charged + 64  # the stream's last words
    assert charged - real <= 2e-4 * n


def test_a_single_symbol_is_charged_nothing() -> None:
    model = SymbolModel.fit(np.full(1000, 3, np.int32))
    assert model.bits(np.array([1000])) == 0
