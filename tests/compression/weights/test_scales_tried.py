"""Which scales are tried: by brute force over the grid, none of them is better than the chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from autocomp.artifacts.scales import grid_numbers, round_scale_up, scale_from_codes
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.weights import GPTQQuantizer, UniformQuantizer, gptq
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec

FINEST = 14
"""Grid steps below the full range: 2 ** -(14 / 8), some 0.3 of it."""


def stats_of(weight: Tensor) -> LayerStatistics:
    n, m = weight.shape
    return LayerStatistics(
        LayerSpec("a", "a.weight", "linear", (n, m), 0, 1, 1, 1, n * m, 1, True, False)
    )


def errors(row: Tensor, bits: int) -> dict[int, float]:
    """Squared error of a row at each scale of the grid, by its distance from the full range."""
    top = 2 ** (bits - 1) - 1
    full = int(grid_numbers(round_scale_up(row.abs().max().reshape(1) / top))[0])
    found = {}
    for finer in range(-1, FINEST + 1):
        scale = scale_from_codes(np.array([full - finer], np.int32)).double()
        rounded = (row.double() / scale).round().clamp(-top, top) * scale
        found[finer] = float((rounded - row.double()).square().sum())
    return found


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("power", [1, 3, 5])
def test_no_scale_of_the_grid_is_better(bits: int, power: int) -> None:
    """Of Gaussian weights, and of some with ever heavier tails, which want a finer scale."""
    drawn = torch.randn(24, 200, generator=torch.Generator().manual_seed(bits))
    weight = drawn.sign() * drawn.abs() ** power
    made = UniformQuantizer().quantize(weight, Choice.of(weight_bits=bits), stats_of(weight))
    for row, codes, scale in zip(weight, made.codes, made.scale, strict=True):
        own = float((codes.double() * scale.double() - row.double()).square().sum())
        assert own == pytest.approx(min(errors(row, bits).values()), rel=1e-5)


def test_the_finest_scale_is_among_them() -> None:
    """Many small weights and one large one: at 2 bits, the range is cut to 0.3 of the full one."""
    weight = torch.cat([torch.full((1, 400), 0.3), torch.ones(1, 1)], 1)
    made = UniformQuantizer().quantize(weight, Choice.of(weight_bits=2), stats_of(weight))
    assert float(made.scale) == 2.0 ** -(FINEST // 8) * 152 / 256  # 0.297
    assert made.codes.unique().tolist() == [1]


def test_quantized_weights_are_found_again() -> None:
    """Also where the largest code is not used: the scale above the full range is tried, too."""
    codes = torch.arange(-6, 7, dtype=torch.float32)[None]
    scale = 2.0**-4
    made = UniformQuantizer().quantize(codes * scale, Choice.of(weight_bits=4), stats_of(codes))
    assert torch.equal(made.codes.double() * made.scale.double(), (codes * scale).double())


def independent(weight: Tensor) -> LayerStatistics:
    """Inputs that are independent and of one size: output errors are those of the weights."""
    stats = stats_of(weight)
    width = weight.shape[1]
    mean = torch.zeros(1, width, dtype=torch.float64)
    gram = Gram(Layout.of(stats.layer), torch.eye(width, dtype=torch.float64)[None], mean, 100)
    return replace(stats, gram=gram)


def gptq_error(weight: Tensor, bits: int) -> Tensor:
    made = GPTQQuantizer().quantize(weight, Choice.of(weight_bits=bits), independent(weight))
    return (made.codes.double() * made.scale.double() - weight.double()).square().sum(1)


def test_gptq_finds_a_step_two_octaves_below_the_full_range() -> None:
    """Many small weights and one large one: only what lies between them is lost."""
    small = 0.27  # of 1: log2 is -1.9
    weight = torch.cat([torch.full((1, 60), small), torch.ones(1, 1)], 1)
    assert float(gptq_error(weight, 2)) == pytest.approx((1 - small) ** 2, rel=0.03)


@pytest.mark.parametrize("bits", [2, 3])
def test_gptq_takes_the_best_of_several_steps(bits: int) -> None:
    """Where inputs go together, the step of least plain error is not that of least output error."""
    generator = torch.Generator().manual_seed(bits)
    weight = torch.randn(32, 24, generator=generator)
    mixed = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    stats = stats_of(weight)
    mean = torch.zeros(1, 24, dtype=torch.float64)
    gram = Gram(Layout.of(stats.layer), (mixed @ mixed.T)[None], mean, 100)
    stats = replace(stats, gram=gram)
    choice = Choice.of(weight_bits=bits)

    def error() -> float:
        made = GPTQQuantizer().quantize(weight, choice, stats)
        return gram.error(made.dequantize(torch.float64) - weight.double())

    best = error()
    alone = []
    for factor in gptq._AROUND:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gptq, "_AROUND", (factor,))
            alone.append(error())
    assert len(alone) == 4 and best < 0.97 * min(alone)
