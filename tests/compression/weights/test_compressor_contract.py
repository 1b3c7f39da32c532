"""What every compressor promises; a new one in `COMPRESSORS` is tested by being there."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autocomp.artifacts.scales import round_scale_up
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights import (
    COMPRESSORS,
    MagnitudePruner,
    Pipeline,
    UniformQuantizer,
    uniform,
)
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.quantized import Quantized
from autocomp.errors import ChoiceError

SHAPES = {
    "conv": ("conv", (6, 8, 3, 3), 1),
    "conv1d": ("conv", (4, 6, 5), 1),
    "conv3d": ("conv", (4, 4, 2, 2, 2), 1),
    "grouped": ("conv", (8, 2, 3, 3), 4),
    "depthwise": ("conv", (8, 1, 3, 3), 8),
    "transposed": ("transposed", (8, 3, 3, 3), 2),
    "linear": ("linear", (5, 22), 1),
    "embedding": ("embedding", (12, 8), 1),
    "attention": ("attention", (24, 8), 1),
    "one output": ("linear", (1, 9), 1),
}
QUANTIZERS = [name for name, make in COMPRESSORS.items() if hasattr(make(), "quantize")]
PRUNERS = [name for name in COMPRESSORS if name not in QUANTIZERS]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
EVERY = pytest.mark.parametrize("name", COMPRESSORS)
QUANTIZER = pytest.mark.parametrize("name", QUANTIZERS)
PRUNER = pytest.mark.parametrize("name", PRUNERS)
LAYER = pytest.mark.parametrize("shape", SHAPES)
CHOICES = (
    NEUTRAL, Choice.of(sparsity=0.5), Choice.of(pattern="2:4"), Choice.of(weight_bits=3), Choice.of(weight_bits=16),
    Choice.of(sparsity=0.6, weight_bits=3), Choice.of(pattern="2:4", weight_bits=4),
)  # fmt: skip
SPARSITIES = (0.0001, 0.1, 0.3333, 0.5, 0.75, 0.9, 0.9999)


def stats_of(shape: str | tuple[int, ...]) -> LayerStatistics:
    kind, sizes, groups = SHAPES[shape] if isinstance(shape, str) else ("linear", shape, 1)
    axes = (1, 0) if kind == "transposed" else (0, 1)
    return LayerStatistics(
        LayerSpec("a", "a.weight", kind, sizes, *axes, groups, 1, 100, 1, True, False)
    )


def weight_of(stats: LayerStatistics, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Bell-shaped weights, one outlier, some exact zeros and some equal magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(stats.layer.shape, generator=generator, dtype=torch.float64)
    flat = weight.view(-1)
    flat[0] *= 4
    flat[1::7] = 0
    flat[2::7] = 0.5
    flat[3::14] = -0.5
    return weight.to(dtype)


def per_scale(quantized: Quantized, values: Tensor) -> list[Tensor]:
    """Returns the entries of `values` that share a scale, one tensor a scale."""
    which = torch.arange(quantized.scale.numel()).view(quantized.scale.shape).expand(values.shape)
    return [values[which == i] for i in range(quantized.scale.numel())]


@EVERY
@DTYPES
@LAYER
def test_contract(name: str, dtype: torch.dtype, shape: str) -> None:
    stats = stats_of(shape)
    weight = weight_of(stats, dtype)
    before = weight.clone()
    for choice in CHOICES:
        result = COMPRESSORS[name]().compress(weight, choice, stats)
        assert torch.equal(weight, before)
        assert result.data_ptr() != weight.data_ptr()
        assert (result.shape, result.dtype, result.device) == (weight.shape, dtype, weight.device)
        assert bool((result[weight == 0] == 0).all())
        assert torch.equal(result, weight) or not choice.is_neutral
        assert torch.equal(result, COMPRESSORS[name]().compress(weight, choice, stats))


@EVERY
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
def test_memory_order_does_not_matter(name: str, order: torch.memory_format) -> None:
    stats = stats_of("conv")
    weight = weight_of(stats)
    for choice in (Choice.of(sparsity=0.5), Choice.of(pattern="2:4"), Choice.of(weight_bits=3)):
        plain = COMPRESSORS[name]().compress(weight, choice, stats)
        other = COMPRESSORS[name]().compress(weight.contiguous(memory_format=order), choice, stats)
        assert torch.equal(plain, other)


@PRUNER
@DTYPES
@LAYER
def test_exact_zeros(name: str, dtype: torch.dtype, shape: str) -> None:
    """Also with ties, and with zeros before (which go first)."""
    stats = stats_of(shape)
    weight = weight_of(stats, dtype)
    weights = (weight, torch.ones_like(weight), torch.zeros_like(weight))
    for given_weight, choice in itertools.product(
        weights, [Choice.of(sparsity=s) for s in SPARSITIES]
    ):
        result = COMPRESSORS[name]().compress(given_weight, choice, stats)
        zeros, before = int((result == 0).sum()), int((given_weight == 0).sum())
        assert zeros == max(stats.layer.zeros(choice), before)
        kept = result != 0
        assert torch.equal(result[kept], given_weight[kept])
        assert torch.equal(COMPRESSORS[name]().compress(result, choice, stats), result)


@PRUNER
@DTYPES
@LAYER
def test_exact_groups(name: str, dtype: torch.dtype, shape: str) -> None:
    """Groups run along the inputs and never cross from one kernel position to the next."""
    stats = stats_of(shape)
    layer = stats.layer
    weights = (weight_of(stats, dtype) + 1e-3, torch.ones(layer.shape, dtype=dtype))
    for weight, pattern in itertools.product(weights, ["1:2", "2:4", "1:4", "4:8", "3:5", "7:8"]):
        choice = Choice.of(pattern=pattern)
        n, m = choice.weights.n_of_m
        result = COMPRESSORS[name]().compress(weight, choice, stats)
        rows, dense = (
            x.movedim(layer.in_axis, -1).reshape(-1, layer.shape[layer.in_axis])
            for x in (result, weight)
        )  # fmt: skip
        whole = rows.shape[1] // m * m
        groups, originals = (x[:, :whole].reshape(-1, m) for x in (rows, dense))
        assert bool(((groups != 0).sum(1) == n).all())
        assert torch.equal(rows[:, whole:], dense[:, whole:])
        assert int((result == 0).sum()) == layer.zeros(choice)
        kept = groups != 0
        assert torch.equal(groups[kept], originals[kept])
        least = torch.where(kept, originals.abs(), torch.inf).amin(1)
        assert bool((torch.where(kept, 0, originals.abs()).amax(1) <= least).all())


@PRUNER
@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40),
    sparsity=st.floats(0, 0.9999),
)
def test_the_smallest_go(name: str, values: list[float], sparsity: float) -> None:
    stats = stats_of((1, len(values)))
    result = COMPRESSORS[name]().compress(
        torch.tensor([values]), Choice.of(sparsity=sparsity), stats
    )[0]
    gone = [abs(v) for v, r in zip(values, result.tolist(), strict=True) if r == 0 and v != 0]
    stay = [abs(r) for r in result.tolist() if r != 0]
    zeros = min(round(Choice.of(sparsity=sparsity).weights.sparsity * len(values)), len(values) - 1)
    assert len(values) - len(stay) == max(zeros, values.count(0.0))
    assert not gone or not stay or max(gone) <= min(stay)


def test_pruning_by_hand() -> None:
    weight = torch.tensor([[3.0, -1.0, 2.0, -4.0], [1.0, 0.5, -0.5, 6.0]])
    stats = stats_of((2, 4))
    pruned = MagnitudePruner().compress(weight, Choice.of(sparsity=0.5), stats)
    assert pruned.tolist() == [[3, 0, 2, -4], [0, 0, 0, 6]]
    pruned = MagnitudePruner().compress(weight, Choice.of(pattern="2:4"), stats)
    assert pruned.tolist() == [[3, 0, 0, -4], [1, 0, 0, 6]]
    equal = MagnitudePruner().compress(torch.ones(1, 5), Choice.of(sparsity=0.4), stats_of((1, 5)))
    assert equal.tolist() == [[0, 0, 1, 1, 1]]  # the first among equals go


@QUANTIZER
@DTYPES
@LAYER
def test_levels_and_errors(name: str, dtype: torch.dtype, shape: str) -> None:
    weight = weight_of(stats_of(shape), dtype)
    for bits in BITS:
        if bits < 32:
            check_levels(COMPRESSORS[name](), weight, bits, stats_of(shape))


def check_levels(quantizer: Any, weight: Tensor, bits: int, stats: LayerStatistics) -> None:
    choice, dtype = Choice.of(weight_bits=bits), weight.dtype
    quantized = quantizer.quantize(weight, choice, stats)
    result = quantizer.compress(weight, choice, stats)
    assert torch.equal(quantized.dequantize(dtype), result)
    assert torch.equal(quantized.scale.to(torch.bfloat16).float(), quantized.scale)
    assert quantized.codes.shape == weight.shape and quantized.codes.is_contiguous()
    steps = quantized.scale.expand(weight.shape).double()
    error = (result.double() - weight.double()).abs()
    for values, codes, dense, err, step in zip(
        *(per_scale(quantized, x) for x in (result, quantized.codes, weight, error, steps)),
        strict=True,
    ):
        assert len(values.unique()) <= 2**bits
        assert int(codes.max()) - int(codes.min()) < 2**bits
        # beyond half a step only where the range was cut off
        beyond = err > step * 0.500001 + 1e-12
        cut = ((codes == codes.max()) & (dense > values)) | (
            (codes == codes.min()) & (dense < values)
        )
        assert bool((cut | ~beyond).all())
        if bits == 16:
            assert not bool(beyond.any())


@pytest.mark.parametrize(
    "name", ["symmetric", "symmetric-tensor", "asymmetric", "asymmetric-tensor"]
)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 16])
@pytest.mark.parametrize("shape", ["transposed", "linear"])
@pytest.mark.parametrize("shift", [0.0, 1.5, -9.0])
def test_never_worse_than_the_full_range(name: str, bits: int, shape: str, shift: float) -> None:
    stats = stats_of(shape)
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
    stats = stats_of((4, 500))
    for quantizer in (UniformQuantizer(), UniformQuantizer(symmetric=False)):
        quantized = quantizer.quantize(weight, Choice.of(weight_bits=3), stats)
        assert bool((quantized.codes * quantized.scale).abs().amax() < 0.8 * weight.abs().amax())


def test_quantizing_by_hand() -> None:
    def run(make: str, bits: int, *rows: list[float]) -> tuple[list[Any], list[Any]]:
        stats = stats_of((len(rows), len(rows[0])))
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
    stats = stats_of(shape)
    for bits in (2, 3, 4, 5, 6, 7):
        choice = Choice.of(weight_bits=bits)
        once = COMPRESSORS[name]().compress(weight_of(stats, dtype), choice, stats)
        assert torch.equal(COMPRESSORS[name]().compress(once, choice, stats), once)


@QUANTIZER
@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e35])
def test_very_small_and_very_large_weights(name: str, size: float) -> None:
    stats = stats_of("linear")
    weight = weight_of(stats) * size
    for bits in (2, 8, 16):
        quantized = COMPRESSORS[name]().quantize(weight, Choice.of(weight_bits=bits), stats)
        assert torch.isfinite(quantized.dequantize()).all()
        assert torch.equal(quantized.scale.to(torch.bfloat16).float(), quantized.scale)


@QUANTIZER
@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_constant_weights(name: str, value: float, bits: int) -> None:
    stats = stats_of("linear")
    weight = torch.full(stats.layer.shape, value)
    result = COMPRESSORS[name]().compress(weight, Choice.of(weight_bits=bits), stats)
    assert torch.allclose(result, weight, rtol=0.0475)  # half a step of the grid of scales


@QUANTIZER
def test_32_bits_have_no_codes(name: str) -> None:
    stats = stats_of("linear")
    with pytest.raises(ChoiceError, match=r"`2 <= weight_bits <= 16` must hold.*got 32"):
        COMPRESSORS[name]().quantize(weight_of(stats), NEUTRAL, stats)


@QUANTIZER
@DTYPES
@LAYER
def test_prune_then_quantize(name: str, dtype: torch.dtype, shape: str) -> None:
    stats = stats_of(shape)
    weight = weight_of(stats, dtype)
    before = weight.clone()
    for choice in CHOICES:
        compressed = Pipeline(MagnitudePruner(), COMPRESSORS[name]()).run(weight, choice, stats)
        pruned = MagnitudePruner().compress(weight, choice, stats)
        assert torch.equal(weight, before)
        if choice.weights.bits == 32:
            assert compressed.quantized is None and torch.equal(compressed.weight, pruned)
            continue
        assert compressed.quantized is not None and compressed.weight.dtype == dtype
        assert torch.equal(compressed.weight, compressed.quantized.dequantize(dtype))
        assert bool((compressed.weight[pruned == 0] == 0).all())
        alone = COMPRESSORS[name]().compress(pruned, choice, stats)
        assert torch.equal(compressed.weight, alone)


def test_the_range_of_a_long_channel_is_chosen_on_a_sample() -> None:
    """It costs little in error against choosing it on every weight."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 40_000, generator=generator)
    weight[0, 77] = 30.0  # one value far out, which an even sample would miss
    stats = stats_of((4, 40_000))
    for bits, much in ((2, 1.02), (3, 1.02), (4, 1.05), (8, 1.1)):
        choice = Choice.of(weight_bits=bits)
        found = UniformQuantizer().compress(weight, choice, stats)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uniform, "_ENOUGH", 10**9)
            exact = UniformQuantizer().compress(weight, choice, stats)
        errors = [(w - weight).square().sum(1) for w in (found, exact)]
        assert bool((errors[0] <= errors[1] * much).all())
