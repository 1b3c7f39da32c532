"""The contract of a compressor: pruners and quantizers."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights import Compressor, MagnitudePruner, Pipeline, Quantizer
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import ChoiceError
from autocomp.testing.layers import KINDS, statistics_of, weight_of
from autocomp.testing.networks import calibrated, small_network

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
KIND = pytest.mark.parametrize("kind", KINDS)
CHOICES = (
    NEUTRAL, Choice.of(sparsity=0.5), Choice.of(pattern="2:4"), Choice.of(weight_bits=3),
    Choice.of(weight_bits=16), Choice.of(sparsity=0.6, weight_bits=3),
    Choice.of(pattern="2:4", weight_bits=4),
)  # fmt: skip
SPARSITIES = (0.0001, 0.1, 0.3333, 0.5, 0.75, 0.9, 0.9999)
PATTERNS = ("1:2", "2:4", "1:4", "4:8", "3:5", "7:8")


class CompressorContract:
    """What every compressor promises; subclass it and define `make`.

    A compressor is made once and called for many layers, also at the same time. `compress` is given
    a weight, the choice and what calibration knows of the layer (perhaps nothing), and returns a
    new weight of the same shape, dtype and device; the given one stays as it was, whatever its
    memory order. The same arguments give the same result, the neutral choice gives the weight
    itself, and what is zero stays zero.

    What has `quantize` (a `Quantizer`) rounds; anything else prunes. A pruner ignores bits. It
    makes exactly `stats.layer.zeros(choice)` zeros, of which those that are there come first, or,
    for a pattern N:M, leaves exactly N of each M consecutive inputs, the rest at the end of a row
    untouched; doing it twice changes nothing. A quantizer ignores sparsity. `quantize` gives whole
    codes of the weight's shape and scales in bfloat16's grid that dequantize to what `compress`
    gives, `2**bits` values a scale at most, finite at any magnitude, and a `ChoiceError` at 32
    bits; `quantize_all` gives at each width what `quantize` does. A pipeline prunes first.

    Attributes:
        by_magnitude: of a pruner: whether, without statistics of the inputs, the smallest weights
            go and the others stay as they are. False by default.
        rounds_to_nearest: of a quantizer: whether, without statistics of the inputs, an error above
            half a step is only made where the range was cut off. False by default.
    """

    by_magnitude = False
    rounds_to_nearest = False

    def make(self) -> Compressor:
        """Returns the compressor."""
        raise NotImplementedError

    @pytest.fixture
    def pruner(self) -> Compressor:
        """The compressor, if it prunes; else the test is skipped."""
        made = self.make()
        if isinstance(made, Quantizer):
            pytest.skip("rounds, and does not prune")
        return made

    @pytest.fixture
    def quantizer(self) -> Quantizer:
        """The compressor, if it rounds; else the test is skipped."""
        made = self.make()
        if not isinstance(made, Quantizer):
            pytest.skip("prunes, and does not round")
        return made

    def test_it_is_a_compressor(self) -> None:
        """An object with every member, whose key is the same each time."""
        made = self.make()
        assert isinstance(made, Compressor) and not isinstance(made, type)
        assert made.key == self.make().key
        pipeline = (
            Pipeline(quantizer=made) if isinstance(made, Quantizer) else Pipeline(pruner=made)
        )
        assert made.key in pipeline.name

    @DTYPES
    @KIND
    def test_a_new_weight_like_the_old_one(self, kind: str, dtype: torch.dtype) -> None:
        """For every kind of layer and of choice."""
        stats = statistics_of(kind)
        weight = weight_of(stats, dtype)
        before = weight.clone()
        for choice in CHOICES:
            result = self.make().compress(weight, choice, stats)
            assert torch.equal(weight, before)
            assert result.data_ptr() != weight.data_ptr()
            assert (result.shape, result.dtype, result.device) == (
                weight.shape, dtype, weight.device,
            )  # fmt: skip
            assert bool((result[weight == 0] == 0).all())
            assert torch.equal(result, weight) or not choice.is_neutral
            assert torch.equal(result, self.make().compress(weight, choice, stats))

    def test_the_order_in_memory_does_not_matter(self) -> None:
        """Channels last, or first."""
        stats = statistics_of("conv")
        weight = weight_of(stats)
        for choice in (Choice.of(sparsity=0.5), Choice.of(pattern="2:4"), Choice.of(weight_bits=3)):
            plain = self.make().compress(weight, choice, stats)
            for order in (torch.contiguous_format, torch.channels_last):
                other = self.make().compress(weight.contiguous(memory_format=order), choice, stats)
                assert torch.equal(plain, other)

    def test_with_statistics_of_the_inputs(self) -> None:
        """On a small network: all of the above, and exact counts."""
        store = calibrated(small_network())
        store._observe()
        made = self.make()
        for layer in store.network.layers:
            stats, weight = store.stats[layer.name], store.dense(layer)
            before = weight.clone()
            for choice in (NEUTRAL, Choice.of(sparsity=0.5), Choice.of(weight_bits=4)):
                result = made.compress(weight, choice, stats)
                assert torch.equal(weight, before)
                assert (result.shape, result.dtype) == (weight.shape, weight.dtype)
                assert bool(result.isfinite().all()) and bool((result[weight == 0] == 0).all())
                assert torch.equal(result, weight) or not choice.is_neutral
                assert torch.equal(result, made.compress(weight, choice, stats))
                if not isinstance(made, Quantizer):
                    assert int((result == 0).sum()) == layer.zeros(choice)

    @DTYPES
    @KIND
    def test_exact_zeros(self, pruner: Compressor, kind: str, dtype: torch.dtype) -> None:
        """Also with ties, and with zeros before, which go first."""
        stats = statistics_of(kind)
        weight = weight_of(stats, dtype)
        weights = (weight, torch.ones_like(weight), torch.zeros_like(weight))
        for given_weight, sparsity in itertools.product(weights, SPARSITIES):
            choice = Choice.of(sparsity=sparsity)
            result = pruner.compress(given_weight, choice, stats)
            zeros, before = int((result == 0).sum()), int((given_weight == 0).sum())
            assert zeros == max(stats.layer.zeros(choice), before)
            if self.by_magnitude:
                kept = result != 0
                assert torch.equal(result[kept], given_weight[kept])
            assert torch.equal(pruner.compress(result, choice, stats), result)

    @DTYPES
    @KIND
    def test_exact_patterns(self, pruner: Compressor, kind: str, dtype: torch.dtype) -> None:
        """Groups run along the inputs and never cross from one kernel position to the next."""
        stats = statistics_of(kind)
        layer = stats.layer
        weights = (weight_of(stats, dtype) + 1e-3, torch.ones(layer.shape, dtype=dtype))
        for weight, pattern in itertools.product(weights, PATTERNS):
            choice = Choice.of(pattern=pattern)
            n, m = choice.weights.n_of_m
            result = pruner.compress(weight, choice, stats)
            rows, dense = (
                x.movedim(layer.in_axis, -1).reshape(-1, layer.shape[layer.in_axis])
                for x in (result, weight)
            )
            whole = rows.shape[1] // m * m
            groups, originals = (x[:, :whole].reshape(-1, m) for x in (rows, dense))
            assert bool(((groups != 0).sum(1) == n).all())
            if not self.by_magnitude:
                continue
            assert torch.equal(rows[:, whole:], dense[:, whole:])
            kept = groups != 0
            assert torch.equal(groups[kept], originals[kept])
            least = torch.where(kept, originals.abs(), torch.inf).amin(1)
            assert bool((torch.where(kept, 0, originals.abs()).amax(1) <= least).all())

    @settings(
        deadline=None, derandomize=True, max_examples=60,
        suppress_health_check=[
            HealthCheck.differing_executors, HealthCheck.function_scoped_fixture
        ],
    )  # fmt: skip
    @given(
        values=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40),
        sparsity=st.floats(0, 0.9999),
    )
    def test_any_row(self, pruner: Compressor, values: list[float], sparsity: float) -> None:
        """The count is exact; by magnitude, the smallest go."""
        stats = statistics_of((1, len(values)))
        choice = Choice.of(sparsity=sparsity)
        result = pruner.compress(torch.tensor([values]), choice, stats)[0]
        gone = [abs(v) for v, r in zip(values, result.tolist(), strict=True) if r == 0 and v != 0]
        stay = [abs(r) for r in result.tolist() if r != 0]
        zeros = min(round(choice.weights.sparsity * len(values)), len(values) - 1)
        assert len(values) - len(stay) == max(zeros, values.count(0.0))
        assert not self.by_magnitude or not gone or not stay or max(gone) <= min(stay)

    @DTYPES
    @KIND
    def test_levels(self, quantizer: Quantizer, kind: str, dtype: torch.dtype) -> None:
        """Few values a scale, which are codes times it; at most half a step from the weight."""
        stats = statistics_of(kind)
        weight = weight_of(stats, dtype)
        for bits in BITS:
            if bits < 32:
                self._check_levels(quantizer, weight, bits, stats)

    def _check_levels(
        self, quantizer: Quantizer, weight: Tensor, bits: int, stats: LayerStatistics
    ) -> None:
        choice, dtype = Choice.of(weight_bits=bits), weight.dtype
        quantized = quantizer.quantize(weight, choice, stats)
        result = quantizer.compress(weight, choice, stats)
        assert torch.equal(quantized.dequantize(dtype), result)
        assert torch.equal(quantized.scale.to(torch.bfloat16).float(), quantized.scale)
        assert quantized.codes.shape == weight.shape and quantized.codes.is_contiguous()
        steps = quantized.scale.expand(weight.shape).double()
        error = (result.double() - weight.double()).abs()
        for values, codes, dense, err, step in zip(
            *(_per_scale(quantized, x) for x in (result, quantized.codes, weight, error, steps)),
            strict=True,
        ):
            assert len(values.unique()) <= 2**bits
            assert int(codes.max()) - int(codes.min()) < 2**bits
            if not self.rounds_to_nearest:
                continue
            # beyond half a step only where the range was cut off
            beyond = err > step * 0.500001 + 1e-12
            cut = ((codes == codes.max()) & (dense > values)) | (
                (codes == codes.min()) & (dense < values)
            )
            assert bool((cut | ~beyond).all())
            if bits == 16:
                assert not bool(beyond.any())

    @KIND
    def test_all_widths_at_once(self, quantizer: Quantizer, kind: str) -> None:
        """As one after the other."""
        stats = statistics_of(kind)
        weight = weight_of(stats)
        found = quantizer.quantize_all(weight, [2, 4, 8], stats)
        for bits, quantized in zip((2, 4, 8), found, strict=True):
            alone = quantizer.quantize(weight, Choice.of(weight_bits=bits), stats)
            assert torch.equal(alone.codes, quantized.codes)
            assert torch.equal(alone.scale, quantized.scale)

    @pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 1e35])
    def test_very_small_and_very_large_weights(self, quantizer: Quantizer, size: float) -> None:
        """Stay finite."""
        stats = statistics_of("linear")
        weight = weight_of(stats) * size
        for bits in (2, 8, 16):
            quantized = quantizer.quantize(weight, Choice.of(weight_bits=bits), stats)
            assert torch.isfinite(quantized.dequantize()).all()
            assert torch.equal(quantized.scale.to(torch.bfloat16).float(), quantized.scale)

    @pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
    def test_constant_weights(self, quantizer: Quantizer, value: float) -> None:
        """Finite; to nearest, they come back within half a step of the grid of scales."""
        stats = statistics_of("linear")
        weight = torch.full(stats.layer.shape, value)
        for bits in (2, 8, 16):
            result = quantizer.compress(weight, Choice.of(weight_bits=bits), stats)
            assert bool(result.isfinite().all())
            assert not self.rounds_to_nearest or torch.allclose(result, weight, rtol=0.0475)

    def test_32_bits_have_no_codes(self, quantizer: Quantizer) -> None:
        """And that is said."""
        stats = statistics_of("linear")
        with pytest.raises(ChoiceError):
            quantizer.quantize(weight_of(stats), NEUTRAL, stats)

    @DTYPES
    @KIND
    def test_prune_then_quantize(self, quantizer: Quantizer, kind: str, dtype: torch.dtype) -> None:
        """In a pipeline, where what was pruned stays zero."""
        stats = statistics_of(kind)
        weight = weight_of(stats, dtype)
        before = weight.clone()
        for choice in CHOICES:
            compressed = Pipeline(MagnitudePruner(), quantizer).run(weight, choice, stats)
            pruned = MagnitudePruner().compress(weight, choice, stats)
            assert torch.equal(weight, before)
            if choice.weights.bits == 32:
                assert compressed.quantized is None and torch.equal(compressed.weight, pruned)
                continue
            assert compressed.quantized is not None and compressed.weight.dtype == dtype
            assert torch.equal(compressed.weight, compressed.quantized.dequantize(dtype))
            assert bool((compressed.weight[pruned == 0] == 0).all())
            assert torch.equal(compressed.weight, quantizer.compress(pruned, choice, stats))


def _per_scale(quantized: Quantized, values: Tensor) -> list[Tensor]:
    """Returns the entries of `values` that share a scale, one tensor a scale."""
    which = torch.arange(quantized.scale.numel()).view(quantized.scale.shape).expand(values.shape)
    return [values[which == i] for i in range(quantized.scale.numel())]
