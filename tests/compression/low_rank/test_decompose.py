from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from autocomp.compression.low_rank import (
    DECOMPOSITIONS,
    PlainLayer,
    Svd,
    applies_to,
    blueprint,
    composed_weight,
    decompose,
    full_rank,
    macs,
    make_decomposition,
    n_weights,
    useful_ranks,
)
from autocomp.compression.recovery.gram import Gram
from autocomp.errors import ChoiceError, DataError, LayerError, ModelError, UnknownNameError
from autocomp.network.analysis import analyse
from autocomp.plugins import registry

Make = Callable[..., tuple[Any, Tensor]]
Moments = Callable[..., Gram]
EXACT = ("svd", "data-svd", "spatial-svd", "tucker", "tt")


def methods_for(module: Any) -> list[str]:
    return [method for method in DECOMPOSITIONS if applies_to(module, method)]


@torch.no_grad()
def test_full_rank_reproduces_the_layer(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name)
    gram = moments(module, x)
    for method in set(methods_for(module)) & set(EXACT):
        for known in (gram,) if method == "data-svd" else (None, gram):
            chain = decompose(module, method, full_rank(module, method), known)
            torch.testing.assert_close(chain(x), module(x), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(composed_weight(chain), module.weight.data)
            # also for inputs that calibration never saw
            other = torch.randn_like(x)
            torch.testing.assert_close(chain(other), module(other), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_full_rank_in_single_precision(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name, dtype=torch.float32)
    gram = moments(module, x)
    for method in set(methods_for(module)) & set(EXACT):
        chain = decompose(module, method, full_rank(module, method), gram)
        assert all(p.dtype == torch.float32 for p in chain.parameters())
        scale = float(module(x).abs().max())
        torch.testing.assert_close(chain(x), module(x), rtol=1e-5, atol=1e-5 * scale)


@torch.no_grad()
def test_the_error_falls_with_the_rank(name: str, make: Make, moments: Moments) -> None:
    """Of the weight without moments; of the outputs where the method minimises that."""
    module, x = make(name)
    gram = moments(module, x)
    for method in set(methods_for(module)) & set(EXACT):
        for known in (None, gram):
            if method == ("svd" if known else "data-svd") or (known and method == "tt"):
                continue
            errors = []
            for rank in range(1, full_rank(module, method) + 1):
                lost = composed_weight(decompose(module, method, rank, known)) - module.weight
                errors.append(known.error(lost) if known else float(lost.square().sum()))
            assert errors[0] > 1e-3  # else nothing is tested
            slack = 1e-8 * errors[0]
            assert all(b <= a + slack for a, b in zip(errors, errors[1:], strict=False)), method


@torch.no_grad()
def test_the_chain_is_the_composed_weight(name: str, make: Make, moments: Moments) -> None:
    """Strides, paddings, dilations and modes go to the right layers, at every low rank."""
    module, x = make(name)
    for method in methods_for(module):
        known = moments(module, x, centred=False)
        chain = decompose(module, method, min(2, full_rank(module, method)), known)
        single = copy.deepcopy(module)
        single.weight.copy_(composed_weight(chain))
        assert float((single(x) - module(x)).abs().max()) > 1e-3
        torch.testing.assert_close(chain(x), single(x), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@torch.no_grad()
def test_uneven_padding_stays_on_its_side() -> None:
    module = nn.Conv2d(3, 4, (4, 2), padding="same").double()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    for method in ("svd", "spatial-svd", "tucker", "tt"):
        chain = decompose(module, method, full_rank(module, method))
        torch.testing.assert_close(chain(x), module(x), rtol=1e-10, atol=1e-10)


def test_counts_are_those_of_the_built_chain(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name)
    gram = moments(module, x)
    spec = gram.layout.layer
    for method in methods_for(module):
        full = full_rank(module, method)
        assert full_rank(spec, method) == full
        for rank in {1, 2, max(1, full // 2), full}:
            chain = decompose(module, method, rank, gram)
            count = sum(layer.weight.numel() for layer in chain)
            assert n_weights(module, method, rank) == n_weights(spec, method, rank) == count
            shapes = {key: tuple(value.shape) for key, value in chain.state_dict().items()}
            assert blueprint(module, method, rank).shapes == shapes
            counted = analyse(nn.Sequential(chain), x[:1]).macs
            assert macs(module, method, rank, x.shape[1:]) == counted


def test_useful_ranks_are_those_with_fewer_weights(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name)
    spec = moments(module, x).layout.layer
    for method in DECOMPOSITIONS:
        useful = useful_ranks(module, method)
        assert useful == useful_ranks(spec, method)
        if not applies_to(module, method):
            assert not useful
            continue
        fewer = [
            rank
            for rank in range(1, full_rank(module, method) + 1)
            if n_weights(module, method, rank) < module.weight.numel()
        ]
        assert list(useful) == fewer


def test_known_counts() -> None:
    linear, conv = nn.Linear(10, 20), nn.Conv2d(8, 16, 3)
    assert full_rank(linear, "svd") == 10 and n_weights(linear, "svd", 3) == 3 * (10 + 20)
    assert useful_ranks(linear, "svd") == range(1, 7)  # 6 * 30 < 200 <= 7 * 30
    assert macs(linear, "svd", 3, (5, 10)) == 5 * 90
    assert n_weights(conv, "svd", 4) == 4 * 8 * 9 + 4 * 16
    assert full_rank(conv, "spatial-svd") == 24 and n_weights(conv, "spatial-svd", 5) == 5 * 72
    # both channel modes get the share 8 / 16
    assert full_rank(conv, "tucker") == 16
    assert n_weights(conv, "tucker", 8) == 8 * 4 + 4 * 8 * 9 + 8 * 16
    assert full_rank(conv, "cp") == 8 * 9 and n_weights(conv, "cp", 5) == 5 * (8 + 3 + 3 + 16)
    # full ranks 8, 24, 16: capped at 10
    assert full_rank(conv, "tt") == 24
    assert n_weights(conv, "tt", 10) == 8 * 8 + 8 * 10 * 3 + 10 * 10 * 3 + 10 * 16
    # the first layer works before the stride
    strided = nn.Conv2d(8, 16, 3, stride=2, padding=1)
    assert macs(strided, "tucker", 8, (8, 6, 6)) == 32 * 36 + 4 * 8 * 9 * 9 + 8 * 16 * 9


def test_the_module_is_left_alone_and_its_state_goes_over(
    name: str, make: Make, moments: Moments
) -> None:
    module, x = make(name)
    gram = moments(module, x)
    module.eval()
    module.weight.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    for method in methods_for(module):
        chain = decompose(module, method, 1, gram)
        assert not chain.training and not any(p.requires_grad for p in chain.parameters())
        assert all(type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d) for layer in chain)
        has_bias = module.bias is not None
        assert [layer.bias is not None for layer in chain] == [False] * (len(chain) - 1) + [
            has_bias
        ]
        owned = {p.data_ptr() for p in module.parameters()}
        assert not owned & {p.data_ptr() for p in chain.parameters()}
    after = module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    chain = decompose(module.train().requires_grad_(True), "svd", 1)
    assert chain.training and all(p.requires_grad for p in chain.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    module = nn.Conv2d(4, 6, 3).to(dtype)
    for method in ("svd", "spatial-svd", "tucker", "cp", "tt"):
        chain = decompose(module, method, 3)
        assert all(p.dtype == dtype and p.isfinite().all() for p in chain.parameters())


def test_deterministic_without_touching_random_states(make: Make, moments: Moments) -> None:
    module, x = make("conv")
    gram = moments(module, x)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    for method in DECOMPOSITIONS:
        first, second = (decompose(module, method, 7 if method == "cp" else 3, gram) for _ in "ab")
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b), method
    assert torch.equal(state, torch.get_rng_state())


def test_signs_do_not_depend_on_the_library(make: Make, moments: Moments) -> None:
    """The largest entry of each column of the last factor is positive."""
    module, x = make("conv")
    for method in ("svd", "data-svd"):
        last = decompose(module, method, 4, moments(module, x))[-1].weight.flatten(1)
        assert bool((last.gather(0, last.abs().argmax(0, keepdim=True)) > 0).all())


@torch.no_grad()
def test_a_centred_gram_moves_the_bias(make: Make, moments: Moments) -> None:
    """The outputs' mean stays, so that the error is the one around the mean."""
    module, x = make("conv")
    gram = moments(module, x)
    assert gram.centred and module.bias is not None
    for method in DECOMPOSITIONS:
        chain = decompose(module, method, 2, gram)
        off = (chain(x) - module(x)).movedim(1, -1).flatten(0, -2)
        torch.testing.assert_close(off.mean(0), torch.zeros(6).double(), rtol=0, atol=1e-10)
        error = gram.error(composed_weight(chain) - module.weight)
        assert error > 1 and float(off.square().sum(1).mean()) == pytest.approx(error)
        plain = decompose(module, method, 2, moments(module, x, centred=False))
        assert torch.equal(plain[-1].bias, module.bias)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 6), st.tuples(*[st.integers(1, 3)] * 2),
    st.tuples(*[st.integers(1, 2)] * 2), st.tuples(*[st.integers(0, 2)] * 2), st.data(),
)  # fmt: skip
def test_any_geometry(
    ins: int, outs: int, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], data: Any,
) -> None:  # fmt: skip
    module = nn.Conv2d(ins, outs, kernel, stride, padding).double()
    x = torch.randn(2, ins, 5, 6, dtype=torch.float64)
    for method in set(methods_for(module)) - {"data-svd", "cp"}:
        full = full_rank(module, method)
        rank = data.draw(st.integers(1, full))
        with torch.no_grad():
            out = decompose(module, method, rank)(x)
            assert out.shape == module(x).shape
            if rank == full:
                torch.testing.assert_close(out, module(x), rtol=1e-9, atol=1e-9)


def test_a_weight_of_zeros(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name)
    module.weight.data.zero_()
    gram = moments(module, x)
    for method in methods_for(module):
        for known in (gram,) if method == "data-svd" else (None, gram):
            chain = decompose(module, method, 1, known)
            assert not composed_weight(chain).any()
            assert all(p.isfinite().all() for p in chain.parameters())


def test_inputs_that_are_always_zero(name: str, make: Make, moments: Moments) -> None:
    """Then nothing is known of the outputs, and the weight decides."""
    module, x = make(name)
    gram = moments(module, torch.zeros_like(x))
    for method in methods_for(module):
        chain = decompose(module, method, 1, gram)
        assert all(p.isfinite().all() for p in chain.parameters())
    torch.testing.assert_close(
        composed_weight(decompose(module, "data-svd", 1, gram)),
        composed_weight(decompose(module, "svd", 1)),
    )


@pytest.mark.parametrize(
    ("module", "method", "words"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "svd", "with 2 groups"),
        (nn.Conv2d(4, 4, 3, groups=4), "cp", "with 4 groups"),
        (nn.ConvTranspose2d(3, 4, 3), "svd", "got a ConvTranspose2d"),
        (nn.Embedding(3, 4), "svd", "got a Embedding"),
        (nn.Linear(3, 4), "tt", "a tensor form of one is no chain"),
        (nn.Linear(3, 4), "tucker", "linear layer"),
        (nn.Conv2d(3, 4, 1), "tucker", r"kernel \(1, 1\)"),
        (nn.Conv2d(3, 4, (3, 1)), "spatial-svd", r"kernel \(3, 1\)"),
        (nn.Conv1d(3, 4, 3), "spatial-svd", "conv1d"),
        (nn.MultiheadAttention(4, 2).out_proj, "svd", "NonDynamicallyQuantizableLinear"),
        (parametrizations.weight_norm(nn.Linear(3, 4)), "svd", "Parametrized"),
    ],
)
def test_layers_without_such_a_form(module: nn.Module, method: str, words: str) -> None:
    assert not applies_to(module, method) and not useful_ranks(module, method)
    for call in (full_rank, lambda m, n: decompose(m, n, 1)):
        with pytest.raises(LayerError, match=words):
            call(module, method)


def test_a_pruned_layer_keeps_its_weight_elsewhere() -> None:
    module = prune.identity(nn.Linear(3, 4), "weight")
    with pytest.raises(LayerError, match="weights"):
        decompose(module, "svd", 1)


@pytest.mark.parametrize("rank", [0, -1, 4, True, 2.0, "2"])
def test_ranks_out_of_range(rank: Any) -> None:
    module = nn.Linear(3, 4)
    for call in (lambda: decompose(module, "svd", rank), lambda: n_weights(module, "svd", rank)):
        with pytest.raises(ChoiceError, match=r"whole number in \[1, 3\]"):
            call()


def test_bad_moments_and_weights(make: Make, moments: Moments) -> None:
    module, x = make("conv")
    gram = moments(module, x)
    with pytest.raises(DataError, match="`data-svd` needs"):
        decompose(module, "data-svd", 2)
    other = moments(*make("strided"))
    with pytest.raises(DataError, match="of the same layer"):
        decompose(module, "svd", 2, other)
    grouped = nn.Conv2d(10, 6, 3, groups=2).double()  # the same weight shape, other inputs
    wide = moments(grouped, torch.randn(2, 10, 5, 5, dtype=torch.float64))
    with pytest.raises(DataError, match="2 groups"):
        decompose(module, "data-svd", 2, wide)
    transposed = nn.ConvTranspose2d(6, 5, 3).double()
    mirrored = moments(transposed, torch.randn(2, 6, 5, 5, dtype=torch.float64))
    assert mirrored.layout.layer.shape == tuple(module.weight.shape)
    with pytest.raises(DataError, match="of the same layer"):
        decompose(module, "data-svd", 2, mirrored)
    module.weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(ModelError, match="NaN or infinity"):
        decompose(module, "svd", 2, gram)


def test_specs_of_other_kinds(make: Make, moments: Moments) -> None:
    spec = moments(*make("conv")).layout.layer
    for change in ({"kind": "embedding"}, {"kind": "transposed"}, {"shape": (3, 3, 1, 1, 1, 1)}):
        other = dataclasses.replace(spec, **change)
        assert not applies_to(other, "svd")
        with pytest.raises(LayerError, match="leave that layer whole"):
            full_rank(other, "svd")
    grouped = dataclasses.replace(spec, groups=2)
    assert not applies_to(grouped, "svd") and not useful_ranks(grouped, "svd")


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(LayerError, match="4 inputs"):
        macs(nn.Linear(4, 4), "svd", 1, (3, 5))
    with pytest.raises(LayerError, match="without the batch"):
        macs(nn.Conv2d(4, 4, 3), "svd", 1, (1, 4, 8, 8))
    with pytest.raises(LayerError, match="give a larger one"):
        macs(nn.Conv2d(4, 4, 3), "svd", 1, (4, 2, 8))


class Halves:
    """Both halves of a linear layer's inputs; a plug-in's method."""

    def applies_to(self, layer: PlainLayer) -> bool:
        return layer.type == "linear"

    def full_rank(self, layer: PlainLayer) -> int:
        return 1

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        return Svd().pieces(layer, rank)

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        return weight[:1], torch.ones(len(weight), 1, dtype=weight.dtype)


def test_methods_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_decomposition("svd"), Svd)
    with pytest.raises(UnknownNameError, match="Did you mean 'tucker'"):
        decompose(nn.Linear(3, 4), "tuker", 1)
    point = SimpleNamespace(name="halves", value="x:Halves", load=lambda: Halves)
    monkeypatch.setattr(
        registry, "plugins", lambda group: {"halves": point} if "decompositions" in group else {}
    )
    module = nn.Linear(3, 4)
    chain = decompose(module, "halves", 1)
    assert torch.equal(composed_weight(chain).float(), module.weight[:1].expand(4, 3))
    assert full_rank(module, "halves") == 1


def test_every_layer_kind_is_covered(make: Make, every_name: list[str]) -> None:
    used = {method for name in every_name for method in methods_for(make(name)[0])}
    assert used == set(DECOMPOSITIONS)


def test_two_kernels_along_one_axis_have_no_composed_weight() -> None:
    with pytest.raises(LayerError, match="same axis"):
        composed_weight(nn.Sequential(nn.Conv1d(2, 2, 3), nn.Conv1d(2, 2, 2)))
