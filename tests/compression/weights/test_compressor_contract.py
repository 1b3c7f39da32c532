"""What every compressor promises; a new one in `COMPRESSORS` is tested by being there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autocomp.artifacts.scales import round_scale_up
from autocomp.compression.weights import (
    COMPRESSORS,
    Compressor,
    MagnitudePruner,
    UniformQuantizer,
    uniform,
)
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.errors import ChoiceError
from autocomp.testing import CompressorContract
from autocomp.testing.layers import KINDS, statistics_of, weight_of

QUANTIZERS = [name for name, make in COMPRESSORS.items() if hasattr(make(), "quantize")]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
QUANTIZER = pytest.mark.parametrize("name", QUANTIZERS)
LAYER = pytest.mark.parametrize("shape", KINDS)


@pytest.mark.parametrize("name", COMPRESSORS)
class TestBuiltIn(CompressorContract):
    by_magnitude = True
    rounds_to_nearest = True

    @pytest.fixture(autouse=True)
    def _choose(self, name: str) -> None:
        self.name = name

    def make(self) -> Compressor:
        fewer = (
            {"steps": 20} if self.name == "adaround" else {}
        )  # that it learns is tested elsewhere
        made: Compressor = COMPRESSORS[self.name](**fewer)
        return made


def test_pruning_by_hand() -> None:
    weight = torch.tensor([[3.0, -1.0, 2.0, -4.0], [1.0, 0.5, -0.5, 6.0]])
    stats = statistics_of((2, 4))
    pruned = MagnitudePruner().compress(weight, Choice.of(sparsity=0.5), stats)
    assert pruned.tolist() == [[3, 0, 2, -4], [0, 0, 0, 6]]
    pruned = MagnitudePruner().compress(weight, Choice.of(pattern="2:4"), stats)
    assert pruned.tolist() == [[3, 0, 0, -4], [1, 0, 0, 6]]
    equal = MagnitudePruner().compress(
        torch.ones(1, 5), Choice.of(sparsity=0.4), statistics_of((1, 5))
    )
    assert equal.tolist() == [[0, 0, 1, 1, 1]]  # the first among equals go


@pytest.mark.parametrize(
    "name", ["symmetric", "symmetric-tensor", "asymmetric", "asymmetric-tensor"]
)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 16])
@pytest.mark.parametrize("shape", ["transposed", "linear"])
@pytest.mark.parametrize("shift", [0.0, 1.5, -9.0])
def test_never_worse_than_the_full_range(name: str, bits: int, shape: str, shift: float) -> None:
    stats = statistics_of(shape)
    weight = weight_of(stats) + shift
    axis = None if name.endswith("tensor") else stats.layer.out_axis
    result = COMPRESSORS[name]().compress(weight, Choice.of(weight_bits=bits), stats)
    rows, found = (
        x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)
        for x in (weight, result)
    )
    low, high = rows.amin(1, keepdim=True).clamp(max=0), rows.amax(1, keepdim=True).clamp(min=0)
    if name.startswith("symmetric"):
        top = 2 ** (bits - 1) - 1
        step = round_scale_up(torch.maximum(high, -low) / top)
        codes = (rows / step).round().clamp(-top, top)
    else:
        step = round_scale_up((high - low) / (2**bits - 1))
        zero = (-low / step).round()
        codes = (rows / step + zero).round().clamp(0, 2**bits - 1) - zero
    full = (codes * step - rows).square().sum(1)
    ours = (found - rows).square().sum(1)
    assert bool((ours <= full * 1.00001 + 1e-12).all())


def test_clipping_helps_at_few_bits() -> None:
    weight = torch.randn(4, 500, generator=torch.Generator().manual_seed(1))
    stats = statistics_of((4, 500))
    for quantizer in (UniformQuantizer(), UniformQuantizer(symmetric=False)):
        quantized = quantizer.quantize(weight, Choice.of(weight_bits=3), stats)
        assert bool((quantized.codes * quantized.scale).abs().amax() < 0.8 * weight.abs().amax())


def test_quantizing_by_hand() -> None:
    def run(make: str, bits: int, *rows: list[float]) -> tuple[list[Any], list[Any]]:
        stats = statistics_of((len(rows), len(rows[0])))
        result = COMPRESSORS[make]().quantize(
            torch.tensor(rows), Choice.of(weight_bits=bits), stats
        )
        return result.codes.tolist(), result.scale.tolist()

    # evenly spaced weights are met exactly, each row with its own step
    rows = ([-0.75, -0.25, 0.0, 0.5], [6.0, 2.0, -4.0, 0.0])
    assert run("symmetric", 3, *rows) == ([[-3, -1, 0, 2], [3, 1, -2, 0]], [[0.25], [2.0]])
    assert run("symmetric-tensor", 3, rows[1], [4.0, 0.0, 0.0, -2.0]) == (
        [[3, 1, -2, 0], [2, 0, 0, -1]], [[2.0]],
    )  # fmt: skip
    # with a zero-point two bits give four levels: -0.5, 0, 0.5, 1
    assert run("asymmetric", 2, [-0.5, 0.0, 0.5, 1.0]) == ([[-1, 0, 1, 2]], [[0.5]])
    assert run("asymmetric", 2, [0.0, 1.0, 2.0, 3.0]) == ([[0, 1, 2, 3]], [[1.0]])
    assert run("asymmetric", 2, [0.0, -1.0, -2.0, -3.0]) == ([[0, -1, -2, -3]], [[1.0]])
    # 2 bits, codes -1, 0, 1: (1 - s)^2 + 4 (s - 1/2)^2 is least at s = 0.6; the grid has 0.59375
    assert run("symmetric", 2, [1.0, 0.5, 0.5, 0.5, 0.5]) == ([[1, 1, 1, 1, 1]], [[0.59375]])
    # clipping 1 would cost more than rounding 0.25 to zero does
    assert run("symmetric", 2, [1.0, 1.0, 0.25, -1.0]) == ([[1, 1, 0, -1]], [[1.0]])


@pytest.mark.parametrize("name", ["symmetric", "symmetric-tensor"])
@DTYPES
@LAYER
def test_quantizing_twice_changes_nothing(name: str, dtype: torch.dtype, shape: str) -> None:
    """Up to 7 bits the scale that was found, or one with the same weights, is tried again."""
    stats = statistics_of(shape)
    for bits in (2, 3, 4, 5, 6, 7):
        choice = Choice.of(weight_bits=bits)
        once = COMPRESSORS[name]().compress(weight_of(stats, dtype), choice, stats)
        assert torch.equal(COMPRESSORS[name]().compress(once, choice, stats), once)


@QUANTIZER
def test_32_bits_are_refused_in_words(name: str) -> None:
    stats = statistics_of("linear")
    with pytest.raises(ChoiceError, match=r"`1 <= weight_bits <= 16` must hold.*got 32"):
        COMPRESSORS[name]().quantize(weight_of(stats), NEUTRAL, stats)


def test_the_range_of_a_long_channel_is_chosen_on_a_sample() -> None:
    """It costs little in error against choosing it on every weight."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 40_000, generator=generator)
    weight[0, 77] = 30.0  # one value far out, which an even sample would miss
    stats = statistics_of((4, 40_000))
    for bits, much in ((2, 1.02), (3, 1.02), (4, 1.05), (8, 1.1)):
        choice = Choice.of(weight_bits=bits)
        found = UniformQuantizer().compress(weight, choice, stats)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uniform, "_ENOUGH", 10**9)
            exact = UniformQuantizer().compress(weight, choice, stats)
        errors = [(w - weight).square().sum(1) for w in (found, exact)]
        assert bool((errors[0] <= errors[1] * much).all())
