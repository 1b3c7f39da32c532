from __future__ import annotations

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
    Decomposition,
    PlainLayer,
    Svd,
    applies_to,
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
from autocomp.plugins import registry
from autocomp.testing import DecompositionContract

Make = Callable[..., tuple[Any, Tensor]]
Moments = Callable[..., Gram]
EXACT = ("svd", "data-svd", "spatial-svd", "tucker", "tt")
IMPROVES = {
    "svd": ("weight",), "data-svd": ("outputs",), "spatial-svd": ("weight", "outputs"),
    "tucker": ("weight", "outputs"), "tt": ("weight",),
}  # fmt: skip


def methods_for(module: Any) -> list[str]:
    return [method for method in DECOMPOSITIONS if applies_to(module, method)]


@pytest.mark.parametrize("method", DECOMPOSITIONS)
class TestBuiltIn(DecompositionContract):
    @pytest.fixture(autouse=True)
    def _choose(self, method: str) -> None:
        self.method = method
        self.exact = method in EXACT
        self.needs_moments = method == "data-svd"
        self.improves = IMPROVES.get(method, ())

    def make(self) -> Decomposition:
        return make_decomposition(self.method)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@torch.no_grad()
def test_uneven_padding_stays_on_its_side() -> None:
    module = nn.Conv2d(3, 4, (4, 2), padding="same").double()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    for method in ("svd", "spatial-svd", "tucker", "tt"):
        chain = decompose(module, method, full_rank(module, method))
        torch.testing.assert_close(chain(x), module(x), rtol=1e-10, atol=1e-10)


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


def test_the_mode_of_training_goes_over() -> None:
    chain = decompose(nn.Linear(3, 4).train(), "svd", 1)
    assert chain.training and all(p.requires_grad for p in chain.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    module = nn.Conv2d(4, 6, 3).to(dtype)
    for method in ("svd", "spatial-svd", "tucker", "cp", "tt"):
        chain = decompose(module, method, 3)
        assert all(p.dtype == dtype and p.isfinite().all() for p in chain.parameters())


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


def test_without_inputs_the_weight_decides(name: str, make: Make, moments: Moments) -> None:
    module, x = make(name)
    gram = moments(module, torch.zeros_like(x))
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
