"""A network that is trained within its plan: codes, zeros and ranges stay of their kind."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import autocomp
from autocomp.compression.noted_file import file_of
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.data import load_data
from autocomp.errors import ArtifactError, TrainingError
from autocomp.training import freeze, is_trainable, trainable
from autocomp.training.coded_weight import CodedWeight
from autocomp.training.learned_range import LearnedRange
from autocomp.training.trainable import latents


def _train(network: nn.Module, images: torch.Tensor, lr: float = 0.05, steps: int = 30) -> None:
    """Somebody's own loop, which knows nothing of plans."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr)
    for _ in range(steps):
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()


def test_it_computes_the_same_before_it_is_trained(
    network: nn.Module, images: torch.Tensor
) -> None:
    before = network(images)
    trainable(network, masks="free")
    assert is_trainable(network)
    assert torch.equal(network(images), before)
    freeze(network)
    assert not is_trainable(network)
    assert torch.equal(network(images), before)


@pytest.mark.parametrize("scales", ["fixed", "learned"])
def test_zeros_stay_zero_and_codes_on_their_grid(
    network: nn.Module, images: torch.Tensor, tmp_path: Path, scales: str
) -> None:
    packed = file_of(network)
    assert packed is not None
    before = network(images)
    trainable(network, scales=scales)
    _train(network, images)
    trained = network(images).detach()
    assert not torch.equal(trained, before)
    freeze(network)
    assert torch.allclose(network(images), trained, atol=1e-5)
    after = file_of(network)
    assert after is not None
    moved = 0
    for name, weight in after.weights.items():
        old = packed.weights[name]
        assert isinstance(weight, Quantized) and isinstance(old, Quantized)
        assert not bool((weight.codes[old.codes == 0] != 0).any())
        assert int(weight.codes.abs().max()) <= 3
        assert torch.equal(network.get_parameter(name), weight.dequantize())
        moved += int((weight.codes != old.codes).sum())
    assert moved > 0
    # the file holds the same codes; only norms and biases are rounded to their bytes
    again = autocomp.load(autocomp.save(network, tmp_path / "m.safetensors"), network)
    for name in after.weights:
        assert torch.equal(again.get_parameter(name), network.get_parameter(name))


def test_a_copy_that_is_frozen_leaves_the_other_as_it_is(
    network: nn.Module, images: torch.Tensor
) -> None:
    trainable(network)
    before = network(images)
    copied = copy.deepcopy(network)
    freeze(copied)
    assert torch.equal(network(images), before)
    assert torch.equal(copied(images), before)
    _train(network, images)
    assert not torch.equal(network(images), before)
    assert torch.equal(copied(images), before)


def test_a_free_mask_moves_and_is_saved(
    network: nn.Module, made, images: torch.Tensor, tmp_path: Path
) -> None:
    packed = file_of(network)
    assert packed is not None
    trainable(network, dense=made.dense, masks="free")
    _train(network, images)
    freeze(network)
    again = autocomp.load(autocomp.save(network, tmp_path / "m.safetensors"), network)
    grown = 0
    for name, old in packed.weights.items():
        assert isinstance(old, Quantized)
        assert torch.equal(again.get_parameter(name), network.get_parameter(name))
        grown += int((again.get_parameter(name)[old.codes == 0] != 0).sum())
    assert grown > 0


def test_latents_start_at_the_dense_weights(network: nn.Module, made) -> None:
    trainable(network, dense=made.dense)
    packed = file_of(network)
    assert packed is not None
    for weight in latents(network):
        codes = packed.weights[weight.name].codes.float()
        wanted = made.dense.state_dict()[weight.name] / weight.form.scale
        near = (wanted - codes).clamp(-0.45, 0.45) + codes
        assert torch.allclose(weight.latent, near, atol=1e-5)


def test_ranges_of_inputs_are_trained(
    network: nn.Module, images: torch.Tensor, tmp_path: Path
) -> None:
    before = file_of(network)
    trainable(network)
    ranges = [m for m in network.modules() if isinstance(m, LearnedRange)]
    assert before is not None and len(ranges) == len(before.activations) > 0
    _train(network, images)
    assert all(r.log_step.grad is not None and float(r.log_step.detach()) for r in ranges)
    trained = network(images).detach()
    freeze(network)
    assert torch.allclose(network(images), trained, atol=1e-6)
    after = file_of(network)
    assert after is not None
    assert all(after.activations[n].step != before.activations[n].step for n in before.activations)
    again = autocomp.load(autocomp.save(network, tmp_path / "m.safetensors"), network)
    hooks = [h for m in again.modules() for h in m._forward_pre_hooks.values()]
    assert sorted(h.step for h in hooks) == sorted(q.step for q in after.activations.values())


def test_lsq_s_gradient_by_hand() -> None:
    from autocomp.core.activation_quantizer import ActivationQuantizer

    learned = LearnedRange(ActivationQuantizer(2, 0.5, 0))  # levels 0, 0.5, 1, 1.5
    values = torch.tensor([[0.3, 2.0]])
    learned.quantize(values).sum().backward()
    # d/ds: round(x/s) - x/s inside, the level outside; by log s: times s; scaled by 1/sqrt(n Q)
    inside = (1 - 0.6) * 0.5
    outside = 3 * 0.5
    assert learned.log_step.grad is not None
    assert float(learned.log_step.grad) == pytest.approx((inside + outside) / (2 * 3) ** 0.5)


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=20), st.integers(1, 7),
    st.sampled_from([0.25, 1.0, 0.1328125]),
)  # fmt: skip
def test_a_coded_weight_is_codes_times_scale(values: list[float], top: int, scale: float) -> None:
    latent = torch.tensor(values, requires_grad=True)
    form = CodedWeight(torch.ones(len(values)), torch.tensor([scale]), -top, top, free=True)
    weight = form(latent)
    codes = latent.detach().clamp(-top - 0.499, top + 0.499).round()
    assert torch.equal(weight.detach(), codes * scale)
    weight.sum().backward()
    inside = latent.detach().abs() < top + 0.499
    assert latent.grad is not None
    assert torch.allclose(latent.grad[inside], torch.tensor(scale))
    # at an end, descent may lead back inside alone: weight falls with this gradient
    stuck = latent.detach() <= -top - 0.499
    assert bool((latent.grad[stuck] == 0).all())


class _Tied(nn.Module):
    """A table of words whose weights are the last layer's, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 16)
        self.inner = nn.LSTM(16, 16, batch_first=True)
        self.outer = nn.Linear(16, 12, bias=False)
        self.outer.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.outer(self.inner(self.table(tokens))[0][:, -1])


def test_the_order_of_parameters_stays(network: nn.Module, images: torch.Tensor) -> None:
    before = list(network.state_dict())
    trainable(network)
    _train(network, images, steps=1)
    freeze(network)
    assert list(network.state_dict()) == before
    assert not [key for m in network.modules() for key in vars(m) if key.startswith("_autocomp_")]


def test_tied_and_recurrent_weights_are_trained_together(compress, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(12, (96, 5))
    labels = tokens[:, 0]
    pair = (tokens, labels)
    data = load_data((pair, pair, pair))
    made = compress(_Tied().eval(), data, Choice.of(weight_bits=4))
    network = trainable(made.network)
    before = network(tokens)
    table = network.table.parametrizations.weight.original
    assert table is network.outer.parametrizations.weight.original
    loss = nn.functional.cross_entropy(network(tokens), labels)
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(tokens), labels).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(network(tokens), labels) < loss
    assert not torch.equal(network(tokens), before)
    trained = network(tokens).detach()
    copied = copy.deepcopy(network)  # after a pass with gradients, too
    assert torch.allclose(copied(tokens), trained, atol=1e-6)
    freeze(network)
    assert network.table.weight is network.outer.weight
    assert torch.allclose(network(tokens), trained, atol=1e-6)
    again = autocomp.load(autocomp.save(network, tmp_path / "m.safetensors"), _Tied())
    assert torch.allclose(again(tokens), trained, atol=0.05)


def test_heads_that_are_packed_are_trained(compress) -> None:
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.MultiheadAttention(16, 2, batch_first=True)
            self.last = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.heads(x, x, x)[0].mean(1))

    pair = (torch.randn(64, 6, 16), torch.randint(3, (64,)))
    data = load_data((pair, pair, pair))
    made = compress(Attention().eval(), data, Choice.of(weight_bits=4))
    network = trainable(made.network)
    _train(network, pair[0])
    trained = network(pair[0]).detach()
    freeze(network)
    assert torch.allclose(network(pair[0]), trained, atol=1e-6)


def test_what_cannot_be_trained_is_refused(network: nn.Module) -> None:
    with pytest.raises(TrainingError, match=r"must come from autocomp\.load"):
        trainable(nn.Linear(2, 2))
    with pytest.raises(TrainingError, match="masks"):
        trainable(network, masks="loose")
    with pytest.raises(TrainingError, match="scales"):
        trainable(network, scales="loose")
    trainable(network)
    with pytest.raises(TrainingError, match="already"):
        trainable(network)
    with pytest.raises(ArtifactError):
        autocomp.save(network, "never.safetensors")
    latents(network)[0].latent.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"conv1\.weight.*NaN"):
        freeze(network)
