"""The contract of a decomposition into layers of lower rank."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.low_rank import (
    DECOMPOSITIONS,
    Decomposition,
    PlainLayer,
    applies_to,
    blueprint,
    composed_weight,
    decompose,
    full_rank,
    macs,
    n_weights,
    useful_ranks,
)
from autocomp.compression.recovery.gram import Gram
from autocomp.network.analysis import analyse

METHOD = "the one under test"
PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "wide linear": (lambda: nn.Linear(7, 4), (40, 7)),
    "tall linear": (lambda: nn.Linear(4, 9, bias=False), (40, 3, 4)),
    "conv": (lambda: nn.Conv2d(5, 6, 3, padding=1), (6, 5, 6, 7)),
    "strided": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0)), (8, 4, 7, 8)),
    "dilated": (lambda: nn.Conv2d(3, 4, (2, 3), dilation=(3, 1), bias=False), (6, 3, 8, 7)),
    "same": (lambda: nn.Conv2d(3, 5, (5, 3), padding="same", dilation=(1, 2)), (6, 3, 7, 8)),
    "valid": (lambda: nn.Conv2d(3, 5, 3, padding="valid"), (6, 3, 5, 5)),
    "reflect": (lambda: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"), (6, 3, 6, 6)),
    "circular": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="circular"),
                 (6, 3, 6, 7)),
    "pointwise": (lambda: nn.Conv2d(6, 5, 1, stride=2, padding=1), (8, 6, 5, 5)),
    "tall kernel": (lambda: nn.Conv2d(4, 5, (3, 1), stride=(1, 2), padding=(1, 1)), (8, 4, 6, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 5, stride=2, padding=2), (8, 4, 17)),
    "conv3d": (lambda: nn.Conv3d(3, 4, (2, 1, 3), padding=(0, 1, 1)), (6, 3, 4, 4, 5)),
}  # fmt: skip
"""Layers of every kind that has a low-rank form, with odd geometry, and the shape of inputs."""


def layer_and_inputs(name: str, **to: Any) -> tuple[Any, Tensor]:
    """Returns a layer of `LAYERS` and correlated inputs with a mean, in float64 by default."""
    make, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    to = {"dtype": torch.float64, **to}
    with torch.random.fork_rng(devices=[]):
        module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    axis = x.dim() - 1 if isinstance(module, nn.Linear) else 1
    mix = torch.randn(shape[axis], shape[axis], generator=generator, dtype=torch.float64)
    x = (x.movedim(axis, -1) @ mix + 0.5).movedim(-1, axis)
    return module.to(**to), x.to(**to)


def moments_of(
    module: nn.Module, x: Tensor, limit: int = 1024, centred: bool | None = None
) -> Gram:
    """Returns the moments of a layer's inputs; centred where it has a bias, unless told."""
    model = nn.Sequential(module)
    network = analyse(model, x[:1])
    gram = input_moments(model, network, [x], limit)["0"]
    if centred is None or centred == gram.centred:
        return gram
    return gram.centre() if centred else Gram(gram.layout, gram.second, gram.mean, gram.count)


class Given(NamedTuple):
    """A layer that the method applies to, its inputs, and their moments."""

    module: Any
    x: Tensor
    gram: Gram


class DecompositionContract:
    """What every decomposition promises; subclass it and define `make`.

    A method is made anew for each question. `applies_to` is asked of a `PlainLayer` first; where it
    is True, `full_rank` says the largest rank, `pieces` the plain layers that stand for the layer
    at a rank in [1, full rank], without computing them, and `factors` their weights, in float64,
    from the layer's and perhaps from the moments of its inputs. Biases, dtypes, devices and modes
    are `autocomp.compression.low_rank.decompose`'s affair.

    The pieces, one after the other, take the layer's inputs and give outputs of its shape: strides,
    paddings and dilations go where they belong. The factors have the pieces' shapes, are finite,
    also for weights and inputs of zeros, and the same each time; the given weight is not modified
    and no random state touched. At full rank the chain computes what the layer does, and no rank
    more costs accuracy.

    Attributes:
        exact: whether the chain computes at full rank what the layer does. True by default.
        improves: of what the error falls with the rank: "weight" without moments, "outputs" with
            them, both by default.
        needs_moments: whether it cannot do without moments. False by default.
    """

    exact = True
    improves: tuple[str, ...] = ("weight", "outputs")
    needs_moments = False

    def make(self) -> Decomposition:
        """Returns the method."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(DECOMPOSITIONS, METHOD, self.make)

    @pytest.fixture(params=LAYERS)
    def layer(self, request: pytest.FixtureRequest) -> Given:
        """One layer after the other; those that the method does not apply to are skipped."""
        module, x = layer_and_inputs(request.param)
        if not applies_to(module, METHOD):
            assert not useful_ranks(module, METHOD)
            pytest.skip("no such form")
        return Given(module, x, moments_of(module, x))

    def test_it_applies_to_something(self) -> None:
        """And says so the same each time."""
        plain = [PlainLayer.of(layer_and_inputs(name)[0]) for name in LAYERS]
        found = [self.make().applies_to(layer) for layer in plain]
        assert any(found)
        assert found == [self.make().applies_to(layer) for layer in plain]

    @torch.no_grad()
    def test_full_rank_reproduces_the_layer(self, layer: Given) -> None:
        """With and without moments, also for inputs that calibration never saw."""
        module, x, gram = layer
        if not self.exact:
            pytest.skip("exact is False")
        for known in self._moments(gram):
            chain = decompose(module, METHOD, full_rank(module, METHOD), known)
            torch.testing.assert_close(composed_weight(chain), module.weight.data)
            for inputs in (x, x.flip(0) * 1.5 - 0.3):
                torch.testing.assert_close(chain(inputs), module(inputs), rtol=1e-10, atol=1e-10)

    @torch.no_grad()
    def test_full_rank_in_single_precision(self, layer: Given) -> None:
        """To its precision."""
        if not self.exact:
            pytest.skip("exact is False")
        module, x = layer.module.float(), layer.x.float()
        gram = moments_of(module, x)
        chain = decompose(module, METHOD, full_rank(module, METHOD), gram)
        assert all(p.dtype == torch.float32 for p in chain.parameters())
        scale = float(module(x).abs().max())
        torch.testing.assert_close(chain(x), module(x), rtol=1e-5, atol=1e-5 * scale)

    @torch.no_grad()
    def test_the_error_falls_with_the_rank(self, layer: Given) -> None:
        """Of the weight without moments; of the outputs with them."""
        module, _, gram = layer
        for what in self.improves:
            known = gram if what == "outputs" else None
            errors = []
            for rank in range(1, full_rank(module, METHOD) + 1):
                lost = composed_weight(decompose(module, METHOD, rank, known)) - module.weight
                errors.append(known.error(lost) if known else float(lost.square().sum()))
            assert errors[0] > 1e-3  # else nothing is tested
            slack = 1e-8 * errors[0]
            assert all(b <= a + slack for a, b in zip(errors, errors[1:], strict=False)), what

    @torch.no_grad()
    def test_the_chain_is_the_composed_weight(self, layer: Given) -> None:
        """Strides, paddings, dilations and modes go to the right layers, at a low rank."""
        module, x, _ = layer
        known = moments_of(module, x, centred=False)
        chain = decompose(module, METHOD, min(2, full_rank(module, METHOD)), known)
        single = copy.deepcopy(module)
        single.weight.copy_(composed_weight(chain))
        assert float((single(x) - module(x)).abs().max()) > 1e-3
        torch.testing.assert_close(chain(x), single(x), rtol=1e-10, atol=1e-10)

    def test_counts_are_those_of_the_built_chain(self, layer: Given) -> None:
        """Weights, shapes and multiply-accumulates, of a module and of its specification."""
        module, x, gram = layer
        spec, full = gram.layout.layer, full_rank(layer.module, METHOD)
        assert full_rank(spec, METHOD) == full
        for rank in {1, min(2, full), max(1, full // 2), full}:
            chain: Any = decompose(module, METHOD, rank, gram)
            count = sum(part.weight.numel() for part in chain)
            assert n_weights(module, METHOD, rank) == n_weights(spec, METHOD, rank) == count
            shapes = {key: tuple(value.shape) for key, value in chain.state_dict().items()}
            assert blueprint(module, METHOD, rank).shapes == shapes
            seen = analyse(chain.float(), x[:1].float())
            assert blueprint(module, METHOD, rank).specs(x.shape[1:]) == seen.layers
            assert macs(module, METHOD, rank, x.shape[1:]) == seen.macs

    def test_useful_ranks_are_those_with_fewer_weights(self, layer: Given) -> None:
        """The same of a module and of its specification."""
        module, _, gram = layer
        useful = useful_ranks(module, METHOD)
        assert useful == useful_ranks(gram.layout.layer, METHOD)
        fewer = [
            rank
            for rank in range(1, full_rank(module, METHOD) + 1)
            if n_weights(module, METHOD, rank) < module.weight.numel()
        ]
        assert list(useful) == fewer

    def test_the_layer_is_left_alone(self, layer: Given) -> None:
        """Its state goes over to the chain, and no memory is shared."""
        module, _, gram = layer
        module.eval().weight.requires_grad_(False)
        before = copy.deepcopy(module.state_dict())
        chain: Any = decompose(module, METHOD, 1, gram)
        assert not chain.training and not any(p.requires_grad for p in chain.parameters())
        assert all(type(part) in PLAIN for part in chain)
        biases = [part.bias is not None for part in chain]
        assert biases == [False] * (len(chain) - 1) + [module.bias is not None]
        owned = {p.data_ptr() for p in module.parameters()}
        assert not owned & {p.data_ptr() for p in chain.parameters()}
        assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())

    def test_it_is_repeatable_and_draws_nothing(self, layer: Given) -> None:
        """The process's random state stays as it was."""
        module, _, gram = layer
        rank = min(3, full_rank(module, METHOD))
        state = torch.get_rng_state()
        first, second = (decompose(module, METHOD, rank, gram) for _ in range(2))
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(state, torch.get_rng_state())

    def test_zeros(self, layer: Given) -> None:
        """Of weights, and of inputs: nothing is known of the outputs, and all stays finite."""
        module, x, gram = layer
        still = moments_of(module, torch.zeros_like(x))
        assert all(p.isfinite().all() for p in decompose(module, METHOD, 1, still).parameters())
        module.weight.data.zero_()
        for known in self._moments(gram):
            chain = decompose(module, METHOD, 1, known)
            assert not composed_weight(chain).any()
            assert all(p.isfinite().all() for p in chain.parameters())

    def _moments(self, gram: Gram) -> tuple[Gram | None, ...]:
        return (gram,) if self.needs_moments else (None, gram)
