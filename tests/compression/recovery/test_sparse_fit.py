"""Wide layers: fits with a number of zeros, on masks, and rounding that shares one system."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.elimination import Groups, eliminate
from autocomp.compression.recovery.factor import factorise
from autocomp.compression.recovery.gram import Gram, GramSum
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.least_squares import descend_on_mask, refit
from autocomp.compression.recovery.rounding import round_in_order
from autocomp.compression.recovery.sparse_fit import SparseFit, all_but_smallest
from autocomp.compression.recovery.unfold import Lines
from autocomp.compression.weights import GPTQQuantizer, OBSPruner
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec


def layer_of(rows: int, width: int) -> LayerSpec:
    return LayerSpec(
        "l", "l.weight", "linear", (rows, width), 0, 1, 1, 1, rows * width, 1, True, True
    )


def inputs(width: int, n: int, seed: int = 0) -> Tensor:
    """Correlated inputs whose energies fall over two orders of magnitude, as features have."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=generator) / width**0.5
    scale = torch.logspace(0, -1, width)
    return torch.relu(torch.randn(n, width, generator=generator) * scale @ mixed + 0.1 * scale)


def gram_of(rows: int, width: int, n: int = 0, seed: int = 0) -> Gram:
    total = GramSum(Layout.of(layer_of(rows, width)))
    total.add(inputs(width, n or 40 * width, seed)[None])
    gram = total.result()
    assert gram is not None
    return gram


def weights_of(rows: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def error(gram: Gram, difference: Tensor) -> float:
    return float(((difference @ gram.hessian) * difference).sum())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 45))
def test_exactly_so_many_are_left_out_the_first_of_equal_ones(values: list[int], n: int) -> None:
    kept = all_but_smallest(torch.tensor(values, dtype=torch.float32), n)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    assert sorted(i for i, stays in enumerate(kept.tolist()) if not stays) == sorted(order[:n])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.95])
def test_without_correlations_it_is_nearly_pruning_by_energy(share: float) -> None:
    """There the optimum is known; what stays keeps its value."""
    energy = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    weights = weights_of(30, 200)[None].double()
    fit = SparseFit(torch.diag(energy)[None], weights, torch.ones(1, 1, 200, dtype=torch.bool))
    zeros = int(share * weights.numel())
    found, kept = fit.fit(zeros)
    torch.testing.assert_close(found, weights * kept, atol=1e-5, rtol=1e-5)
    costs = weights.square() * energy
    least = float(costs[~all_but_smallest(costs, zeros)].sum())
    assert float(costs[~kept].sum()) <= 1.03 * least


def test_zeros_that_are_there_already_cost_nothing() -> None:
    gram, weights = gram_of(6, 200), weights_of(6, 200)[None].double()
    weights[0, :, ::3] = 0
    zeros = int((weights == 0).sum())
    found, kept = SparseFit(gram.hessian, weights, gram.layout.valid).fit(zeros)
    assert torch.equal(kept, weights != 0)
    torch.testing.assert_close(found, weights, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_no_other_weights_on_its_mask_are_better(share: float) -> None:
    """Products in float32 and conjugate gradients come within a thousandth of the error."""
    gram, weights = gram_of(8, 400), weights_of(8, 400)[None].double()
    zeros = int(share * weights.numel())
    found, kept = SparseFit(gram.hessian, weights, gram.layout.valid).fit(zeros)
    assert int((~kept).sum()) == zeros and not bool((found[~kept] != 0).any())
    best = torch.zeros_like(weights)
    for row in range(8):
        on = kept[0, row]
        matrix = gram.hessian[0]
        best[0, row, on] = torch.linalg.solve(matrix[on][:, on], weights[0, row] @ matrix[:, on])
    least = error(gram, best - weights)
    assert least <= error(gram, found - weights) <= 1.001 * least
    assert error(gram, refit(gram, weights, kept) - weights) <= 1.001 * least


@pytest.mark.parametrize(("share", "most"), [(0.5, 1.03), (0.8, 1.0), (0.95, 0.99)])
def test_against_elimination_weight_by_weight(share: float, most: float) -> None:
    gram, weights = gram_of(16, 288), weights_of(16, 288)[None].double()
    zeros = int(share * weights.numel())
    kept = eliminate(gram.hessian, weights, gram.layout.valid).kept(zeros)
    expected = error(gram, refit(gram, weights, kept) - weights)
    found, _ = SparseFit(gram.hessian, weights, gram.layout.valid).fit(zeros)
    assert error(gram, found - weights) <= most * expected


def test_a_sparsity_does_not_depend_on_what_else_is_asked_for() -> None:
    gram, weights = gram_of(8, 256), weights_of(8, 256)[None].double()
    fit = SparseFit(gram.hessian, weights, gram.layout.valid)
    many = [fit.fit(zeros)[0] for zeros in (400, 1000, 1700)]
    alone = SparseFit(gram.hessian, weights, gram.layout.valid).fit(1000)[0]
    assert torch.equal(many[1], alone) and not torch.equal(many[0], alone)


def test_padding_goes_first_and_does_not_count() -> None:
    gram, weights = gram_of(4, 12), weights_of(4, 12)[None].double()
    valid = torch.ones(1, 1, 12, dtype=torch.bool)
    valid[..., 9:] = False
    weights[..., 9:] = 0
    _, kept = SparseFit(gram.hessian, weights, valid).fit(10)
    assert not bool(kept[..., 9:].any()) and int((~kept[..., :9]).sum()) == 10


def test_patterns_leave_so_many_in_each_group() -> None:
    gram, weights = gram_of(5, 14), weights_of(5, 14)[None].double()
    of = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3])
    groups = Groups(of, torch.tensor([2, 2, 2, 0]))
    found, kept = SparseFit(gram.hessian, weights, gram.layout.valid).fit(30, groups)
    counts = kept[0, :, :12].reshape(5, 3, 4).sum(2)
    assert bool((counts == 2).all()) and bool(kept[..., 12:].all())
    assert torch.equal(found != 0, kept)


@pytest.mark.parametrize("pattern", ["2:4", "1:4"])
def test_the_pruner_takes_it_for_wide_layers(pattern: str) -> None:
    gram, weights = gram_of(8, 320), weights_of(8, 320)
    stats = LayerStatistics(gram.layout.layer, gram=gram)
    found = OBSPruner().compress(weights, Choice.of(pattern=pattern), stats)
    n, m = (int(x) for x in pattern.split(":"))
    assert bool(((found.reshape(8, -1, m) != 0).sum(2) == n).all())
    for sparsity in (0.1, 0.55, 0.99):
        choice = Choice.of(sparsity=sparsity)
        found = OBSPruner().compress(weights, choice, stats)
        assert int((found == 0).sum()) == stats.layer.zeros(choice)


def test_conjugate_gradients_stay_on_the_mask_and_end_at_the_optimum() -> None:
    gram = gram_of(3, 30)
    scale = gram.hessian.diagonal(dim1=1, dim2=2).sqrt()
    matrix = gram.hessian / scale[:, :, None] / scale[:, None, :]
    weights, kept = weights_of(3, 30)[None].double(), weights_of(3, 30, 5)[None] > 0
    found = descend_on_mask(matrix, weights, kept, torch.zeros_like(weights))
    assert not bool(found[~kept].any())
    slope = ((weights - found) @ matrix)[kept]
    start = ((weights @ matrix) * kept)[kept]
    assert float(slope.norm()) < 0.02 * float(start.norm())
    assert torch.equal(descend_on_mask(matrix, weights, kept | True, weights), weights)


@pytest.mark.parametrize("shared", [False, True])
def test_rounding_tells_its_error(shared: bool) -> None:
    gram, weights = gram_of(4, 70), weights_of(4, 70)[None].double()
    kept = weights.abs() > 0.5
    target = weights * kept
    factor = factorise(gram.hessian, kept | shared)
    live = factor.gather(kept) if shared else factor.valid[:, None]
    rows = factor.gather(target)
    systems, m, _ = rows.shape
    scale = torch.full((systems, m, 1), 0.4, dtype=torch.float64)
    codes, errors = round_in_order(factor, rows, live, scale, torch.full_like(scale, 3.0))
    found = factor.scatter(codes)
    assert bool((found[~kept] == 0).all()) and float(found.abs().max()) == 3
    off = found * 0.4 - target
    exact = ((off @ gram.hessian) * off).sum(2)
    torch.testing.assert_close(errors.reshape(1, 4), exact)


@pytest.mark.parametrize("sparsity", [0.3, 0.7])
def test_one_system_for_all_rows_rounds_as_well(
    sparsity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gram, weights = gram_of(12, 448), weights_of(12, 448)
    stats = LayerStatistics(gram.layout.layer, gram=gram)
    pruned = OBSPruner().compress(weights, Choice.of(sparsity=sparsity), stats)

    def errors() -> list[float]:
        made = GPTQQuantizer().quantize_all(pruned, [2, 3, 4], stats)
        assert all(bool((q.codes[pruned == 0] == 0).all()) for q in made)
        return [gram.error(q.dequantize(torch.float32) - weights) for q in made]

    shared = errors()
    gram.forget()
    monkeypatch.setattr("autocomp.compression.recovery.gram.NARROW", 1 << 20)
    own = errors()
    assert all(s <= 1.02 * o for s, o in zip(shared, own, strict=True))


def test_rows_in_parts_are_rounded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    gram, weights = gram_of(10, 400), weights_of(10, 400)
    stats = LayerStatistics(gram.layout.layer, gram=gram)
    pruned = OBSPruner().compress(weights, Choice.of(sparsity=0.5), stats)
    whole = GPTQQuantizer().quantize_all(pruned, [2, 4], stats)
    for module in ("recovery.gram", "weights.gptq"):
        monkeypatch.setattr(f"autocomp.compression.{module}.ROUNDED", 3 * 400)
    parts = GPTQQuantizer().quantize_all(pruned, [2, 4], stats)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.scale, other.scale)
        assert float((one.codes != other.codes).double().mean()) < 0.002  # sums in another order


def test_the_order_of_bit_widths_does_not_matter() -> None:
    gram, weights = gram_of(6, 40), weights_of(6, 40)
    stats = LayerStatistics(gram.layout.layer, gram=gram)
    up = GPTQQuantizer().quantize_all(weights, [2, 4, 8], stats)
    down = GPTQQuantizer().quantize_all(weights, [8, 2, 4], stats)
    for one, other in zip(up, [down[1], down[2], down[0]], strict=True):
        assert torch.equal(one.codes, other.codes)


def test_errors_in_float32_are_those_in_float64() -> None:
    """To a thousandth of themselves, small ones of many bits too."""
    gram, weights = gram_of(6, 500), weights_of(6, 500)
    stats = LayerStatistics(gram.layout.layer, gram=gram)
    for bits in (2, 4, 8, 16):
        q = GPTQQuantizer().quantize(weights, Choice.of(weight_bits=bits), stats)
        off = q.dequantize(torch.float32) - weights
        exact = float(gram.row_errors(gram.layout.split(off)).sum())
        assert gram.error(off) == pytest.approx(exact, rel=1e-3)


def test_few_inputs_are_trusted_less() -> None:
    """What makes up for errors by correlations of few inputs fails on others."""
    width = 320
    weights = weights_of(8, width)
    few, many = gram_of(8, width, n=int(1.3 * width)), gram_of(8, width, n=40 * width)
    share = [
        float((g.hessian - g.moment).diagonal(dim1=1, dim2=2).mean())
        / float(g.moment.diagonal(dim1=1, dim2=2).mean())
        for g in (few, many)
    ]
    assert share[0] == pytest.approx(0.02 / 1.3, rel=0.02)
    assert share[1] == pytest.approx(1e-3, rel=0.02)
    other = gram_of(8, width, seed=7)

    def on_other_inputs(gram: Gram) -> float:
        stats = LayerStatistics(gram.layout.layer, gram=gram)
        q = GPTQQuantizer().quantize(weights, Choice.of(weight_bits=3), stats)
        return other.error(q.dequantize(torch.float32) - weights)

    damped = on_other_inputs(few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autocomp.compression.recovery.gram.SPARSE_DAMPING", 0.0)
        few.forget()
        assert damped < on_other_inputs(few)


def test_lines_of_positions_are_drawn_where_there_are_many() -> None:
    assert Lines().drawn((32, 32)) is None and Lines(1024).drawn((32, 32)) is None
    lines = Lines(256)
    drawn = [lines.drawn((32, 32)) for _ in range(200)]
    counts = torch.zeros(32)
    for places in drawn:
        assert places is not None and len(places) == len(set(places.tolist())) == 8
        counts[places] += 1
    assert float(counts.min()) > 20 and float(counts.max()) < 80  # 50 each, borders too
    assert torch.equal(Lines(256).drawn((32, 32)), drawn[0])
    assert len(Lines(0.001).drawn((5, 5))) == 1  # type: ignore[arg-type]
