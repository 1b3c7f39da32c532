"""OBS, GPTQ and AdaRound with real moments: the contract, closed forms and brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from autocomp.artifacts.scales import round_scale, scale_codes
from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery import gram
from autocomp.compression.store import CompressionStore
from autocomp.compression.weights import (
    AdaRoundQuantizer,
    GPTQQuantizer,
    MagnitudePruner,
    OBSPruner,
    Pipeline,
    UniformQuantizer,
)
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.errors import AutocompError, ChoiceError
from autocomp.network.analysis import analyse

QUANTIZERS: dict[str, Any] = {
    "gptq": GPTQQuantizer, "plain gptq": lambda: GPTQQuantizer(sweeps=0),
    "adaround": lambda: AdaRoundQuantizer(steps=60),
}  # fmt: skip
QUANTIZER = pytest.mark.parametrize("quantizer", QUANTIZERS)


def stats_of(case: Any) -> LayerStatistics:
    return LayerStatistics(case.layer, gram=case.gram)


def error(case: Any, weight: Tensor) -> float:
    value: float = case.gram.error(weight - case.weight)
    return value


def test_levels_of_sparsity(kind: str, dtype: torch.dtype, make_case: Any) -> None:
    case = make_case(kind, dtype)
    stats, before = stats_of(case), case.weight.clone()
    pruner, last = OBSPruner(), 0.0
    n = case.layer.n_weights
    for zeros in (0, 1, n // 4, n // 2, n - 1):
        choice = Choice.of(sparsity=zeros / n)
        assert case.layer.zeros(choice) == zeros
        made = pruner.compress(case.weight, choice, stats)
        assert torch.equal(case.weight, before)
        assert (made.shape, made.dtype) == (case.weight.shape, dtype)
        assert int((made == 0).sum()) == zeros
        assert zeros or torch.equal(made, case.weight)
        found = error(case, made)
        assert found >= last - 1e-6
        last = found
        assert torch.equal(made, OBSPruner().compress(case.weight, choice, stats))


def test_no_other_weights_on_the_mask_are_better(case: Any) -> None:
    """The gradient of the damped error vanishes on the weights that stay."""
    made = OBSPruner().compress(case.weight, Choice.of(sparsity=0.5), stats_of(case))
    layout = case.gram.layout
    slope = layout.split(made - case.weight) @ case.gram.hessian
    kept = layout.split(made) != 0
    assert float(slope[kept].abs().max()) < 1e-9 * float(case.gram.hessian.abs().max())


def test_better_than_magnitude(case: Any) -> None:
    stats = stats_of(case)
    for sparsity in (0.3, 0.6):
        choice = Choice.of(sparsity=sparsity)
        plain = MagnitudePruner().compress(case.weight, choice, stats)
        assert error(case, OBSPruner().compress(case.weight, choice, stats)) < error(case, plain)


@pytest.mark.parametrize("limit", [1024, 7], ids=["whole", "sliced"])
@pytest.mark.parametrize("pattern", ["1:2", "2:4", "1:3"])
def test_patterns(kind: str, pattern: str, limit: int, make_case: Any) -> None:
    case = make_case(kind, limit=limit)
    layer = case.layer
    choice = Choice.of(pattern=pattern)
    n, m = choice.weights.n_of_m
    if m > layer.shape[layer.in_axis]:
        pytest.skip("the pattern is wider than the layer")
    made = OBSPruner().compress(case.weight, choice, stats_of(case))
    assert int((made == 0).sum()) == layer.zeros(choice)
    rows = made.movedim(layer.in_axis, -1).reshape(-1, layer.shape[layer.in_axis])
    whole = rows.shape[1] // m * m
    groups = (rows[:, :whole] != 0).reshape(len(rows), -1, m).sum(-1)
    assert bool((groups == n).all()) and bool((rows[:, whole:] != 0).all())
    plain = MagnitudePruner().compress(case.weight, choice, stats_of(case))
    assert error(case, made) <= error(case, plain)


@QUANTIZER
@pytest.mark.parametrize("limit", [1024, 7], ids=["whole", "sliced"])
def test_codes_and_scales(kind: str, quantizer: str, limit: int, make_case: Any) -> None:
    case = make_case(kind, torch.float32, limit)
    stats = stats_of(case)
    pruned = OBSPruner().compress(case.weight, Choice.of(sparsity=0.4), stats)
    for weight, bits in itertools.product((case.weight, pruned), (2, 4, 8)):
        before = weight.clone()
        made = QUANTIZERS[quantizer]().quantize(weight, Choice.of(weight_bits=bits), stats)
        assert torch.equal(weight, before)
        top = 2 ** (bits - 1) - 1
        assert int(made.codes.abs().max()) <= top
        assert made.codes.shape == weight.shape and made.codes.dtype == torch.int8
        assert bool((made.codes[weight == 0] == 0).all())
        shape = [1] * weight.dim()
        shape[case.layer.out_axis] = weight.shape[case.layer.out_axis]
        assert list(made.scale.shape) == shape
        assert scale_codes(made.scale) is not None  # on the grid
        assert torch.equal(made.scale, round_scale(made.scale))


@pytest.mark.parametrize("quantizer", ["gptq", "adaround"])
def test_better_than_nearest(case: Any, quantizer: str) -> None:
    stats = stats_of(case)
    for bits in (2, 3, 4):
        choice = Choice.of(weight_bits=bits)
        plain = UniformQuantizer().compress(case.weight, choice, stats)
        made = QUANTIZERS[quantizer]().compress(case.weight, choice, stats)
        assert error(case, made) <= error(case, plain) * 1.001


def test_against_every_code(make_case: Any) -> None:
    """A row of six weights at two bits: all 729 rows of codes with the same scales."""
    case = make_case("linear")
    made = GPTQQuantizer().quantize(case.weight, Choice.of(weight_bits=2), stats_of(case))
    moment = case.gram.moment[0]
    every = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=6)), dtype=torch.float64)
    mine = case.gram.row_errors((made.dequantize(torch.float64) - case.weight)[None])[0]
    for row in range(4):
        difference = every * made.scale[row].double() - case.weight[row]
        errors = ((difference @ moment) * difference).sum(1)
        rank = int((errors < mine[row] - 1e-9).sum())
        assert rank <= 7  # among the best hundredth
        assert float(mine[row]) >= float(errors.min()) - 1e-9


def test_all_bit_widths_at_once_are_the_single_ones(make_case: Any) -> None:
    case = make_case("grouped")
    stats = stats_of(case)
    pruned = OBSPruner().compress(case.weight, Choice.of(sparsity=0.5), stats)
    bits = [2, 3, 5, 8, 16]
    together = GPTQQuantizer().quantize_all(pruned, bits, stats)
    for b, made in zip(bits, together, strict=True):
        alone = GPTQQuantizer().quantize(pruned, Choice.of(weight_bits=b), stats)
        assert torch.equal(made.codes, alone.codes) and torch.equal(made.scale, alone.scale)


def test_coordinate_descent_never_hurts(case: Any) -> None:
    stats = stats_of(case)
    for bits in (2, 3):
        choice = Choice.of(weight_bits=bits)
        plain = GPTQQuantizer(sweeps=0).compress(case.weight, choice, stats)
        better = GPTQQuantizer(sweeps=4).compress(case.weight, choice, stats)

        def damped(weight: Tensor) -> float:
            difference = case.gram.layout.split(weight - case.weight)
            return float(((difference @ case.gram.hessian) * difference).sum())

        assert damped(better) <= damped(plain) + 1e-12


def test_more_bits_and_less_sparsity_are_nearer(make_case: Any) -> None:
    case = make_case("conv")
    stats, pipeline = stats_of(case), Pipeline()
    choices = [Choice.of(sparsity=s, weight_bits=b) for s in (0.8, 0.5, 0.0) for b in (2, 4, 8)]
    made = pipeline.run_all(case.weight, [*choices, NEUTRAL], stats)
    errors = [error(case, m.weight) for m in made]
    assert errors[-1] == 0 and made[-1].weight is not None
    for row in range(3):
        assert errors[3 * row] > errors[3 * row + 1] > errors[3 * row + 2]
    assert errors[2] > errors[5] > errors[8]
    for choice, one in zip(choices, made, strict=False):
        assert torch.equal(pipeline.run(case.weight, choice, stats).weight, one.weight)


def test_dead_inputs(make_case: Any) -> None:
    """Inputs that are always zero: no division by zero, and their weights go first."""
    case = make_case("linear")
    second, mean = case.gram.second.clone(), case.gram.mean.clone()
    second[0, 2], second[0, :, 2], mean[0, 2] = 0, 0, 0
    gram = replace(case.gram, second=second, mean=mean, _memo={})
    stats = LayerStatistics(case.layer, gram=gram)
    made = OBSPruner().compress(case.weight, Choice.of(sparsity=4 / 24), stats)
    assert bool(torch.isfinite(made).all()) and int((made == 0).sum()) == 4
    assert gram.error(made - case.weight) < 0.2 * gram.error(case.weight)
    codes = GPTQQuantizer().quantize(case.weight, Choice.of(weight_bits=3), stats)
    assert bool(torch.isfinite(codes.dequantize()).all())


def test_all_zero_weights(make_case: Any) -> None:
    case = make_case("conv")
    zero = torch.zeros_like(case.weight)
    made = GPTQQuantizer().quantize(zero, Choice.of(weight_bits=2), stats_of(case))
    assert not made.codes.any() and bool((made.scale > 0).all())


def test_bad_input(make_case: Any) -> None:
    case = make_case("linear")
    stats = stats_of(case)
    with pytest.raises(ChoiceError, match="1 <= weight_bits <= 16"):
        GPTQQuantizer().quantize(case.weight, NEUTRAL, stats)
    with pytest.raises(ChoiceError, match="must be finite"):
        OBSPruner().compress(case.weight * torch.nan, Choice.of(sparsity=0.5), stats)
    with pytest.raises(AutocompError, match="1 <= steps"):
        AdaRoundQuantizer(steps=0)


def test_parts_of_a_weight_that_does_not_fit_into_memory(
    make_case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("conv", "grouped", "transposed, groups"):
        case = make_case(kind)
        stats, choice = stats_of(case), Choice.of(sparsity=0.5, weight_bits=3)
        whole = Pipeline().run(case.weight, choice, stats)
        monkeypatch.setattr(gram, "PIECE_BYTES", 8 * 10 * 10)
        kept = case.gram.layout.split(whole.weight) != 0
        assert len(list(case.gram.pieces(kept))) > 1
        parts = Pipeline().run(case.weight, choice, stats)
        monkeypatch.undo()
        torch.testing.assert_close(parts.weight, whole.weight)


def test_constant_inputs_make_no_error(make_case: Any) -> None:
    case = make_case("linear")
    network = analyse(case.model, case.x)
    one = input_moments(case.model, network, [case.x[:1]])[case.layer.name]
    store = CompressionStore(
        case.model, network, {case.layer.name: LayerStatistics(case.layer, gram=one)}
    )
    assert one.centred and store.error(case.layer, Choice.of(weight_bits=2)) == 0
