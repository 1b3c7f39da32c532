"""Batch norms in a file: one gain and one shift a channel, rounded alike wherever they are used."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.artifacts.coded_vector import CodedVector
from autocomp.artifacts.container import pack, unpack
from autocomp.artifacts.fused_norm import PARTS, FusedNorm
from autocomp.artifacts.side import round_side
from autocomp.artifacts.side_form import SideForm
from autocomp.compression.packing import packed
from autocomp.compression.store import CompressionStore, eps_of
from autocomp.compression.weights import MagnitudePruner, Pipeline, UniformQuantizer
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.costs import make_cost, total
from autocomp.errors import ArtifactError
from autocomp.network.analysis import analyse

SEEDS = st.integers(0, 2**32 - 1)
EPS = st.sampled_from([0.0, 1e-12, 1e-5, 1e-3, 0.1])


def norm_of(
    seed: int, eps: float = 1e-5, channels: int = 24, kind: type[nn.Module] = nn.BatchNorm2d
) -> nn.Module:
    """A batch norm with gains of several octaves, and one channel of gamma 0."""
    generator = torch.Generator().manual_seed(seed)
    norm = kind(channels, eps=eps).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator).exp())
        norm.weight[0::5] *= -1
        norm.bias.copy_(torch.randn(channels, generator=generator))
        norm.running_mean.copy_(torch.randn(channels, generator=generator))
        norm.running_var.copy_(torch.rand(channels, generator=generator) + 0.05)
        if channels > 1:
            norm.weight[1] = 0
    return norm


def parts_of(norm: nn.Module) -> list[Tensor]:
    return [getattr(norm, part) for part in PARTS]


def written(norm: nn.Module, fused: FusedNorm) -> nn.Module:
    result = copy.deepcopy(norm)
    with torch.no_grad():
        for part, tensor in zip(parts_of(result), fused.tensors(norm.weight.dtype), strict=True):
            part.copy_(tensor)
    return result


@torch.no_grad()
def test_fusing_alone_changes_nothing() -> None:
    """With gains and shifts of float64, as the formula says: y = g x / sqrt(1 + eps) + c."""
    norm = norm_of(0).double()
    weight, bias, mean, var = parts_of(norm)
    x = torch.randn(50, 24, 2, 2, dtype=torch.float64)
    gain = weight * ((1 + norm.eps) / (var + norm.eps)).sqrt()
    shift = bias - gain * mean / math.sqrt(1 + norm.eps)
    same = copy.deepcopy(norm)
    for part, value in zip(parts_of(same), (gain, shift, 0.0, 1.0), strict=True):
        part.copy_(torch.as_tensor(value))
    assert torch.allclose(same(x), norm(x), rtol=1e-9, atol=1e-9)


@given(SEEDS, EPS)
@torch.no_grad()
def test_outputs_stay_within_a_step(seed: int, eps: float) -> None:
    """Inputs drawn from the statistics: errors are below 1 % of the largest outputs' spread."""
    norm = norm_of(seed, eps)
    fused = FusedNorm.of(*parts_of(norm), eps)
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(200, 24, 1, 1, generator=generator)
    mean, var = (x.reshape(1, -1, 1, 1) for x in (norm.running_mean, norm.running_var))
    x = mean + noise * var.sqrt()
    error = written(norm, fused)(x) - norm(x)
    assert float(error.square().mean()) < (0.01 * float(norm(x).std(0).max() + 3)) ** 2
    # one gain is zero, and stays that; the shift alone is left
    assert float(fused.gain.values[1]) == 0


@given(SEEDS, EPS, st.integers(1, 70), st.sampled_from([1e-6, 1.0, 1e4]))
@torch.no_grad()
def test_rounding_twice_changes_nothing(seed: int, eps: float, channels: int, size: float) -> None:
    norm = norm_of(seed, eps, channels)
    norm.weight.mul_(size)
    once = FusedNorm.of(*parts_of(norm), eps)
    for other in (eps, 0.0, 0.3):  # with statistics 0 and 1 the eps no longer matters
        again = FusedNorm.of(*once.tensors(torch.float32), other)
        pairs = zip(once.tensors(torch.float32), again.tensors(torch.float32), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@given(SEEDS, st.integers(1, 70))
def test_bytes_come_back(seed: int, channels: int) -> None:
    fused = FusedNorm.of(*parts_of(norm_of(seed, 1e-5, channels)), 1e-5)
    data = fused.to_bytes()
    assert len(data) == FusedNorm.length(channels) == 2 * channels + 4
    found, rest = FusedNorm.read(memoryview(data + b"rest"), channels)
    assert bytes(rest) == b"rest"
    for a, b in zip(found.tensors(torch.float64), fused.tensors(torch.float64), strict=True):
        assert torch.equal(a, b) and a.dtype == torch.float64
    for length in (0, 1, channels, len(data) - 1):
        with pytest.raises(ValueError, match="bytes of a batch norm"):
            FusedNorm.read(memoryview(data[:length]), channels)


@given(SEEDS, st.sampled_from([1e-5, 1e-3]), st.sampled_from([1e-8, 1e-5, 1e-3]))
@torch.no_grad()
def test_channels_that_vary_little_keep_their_gain(seed: int, eps: float, var: float) -> None:
    """A gain far above the others is right to 5 %, and the others are, too."""
    norm = norm_of(seed, eps)
    norm.running_var[3] = var
    exact = norm.weight * ((1 + eps) / (norm.running_var + eps)).sqrt()
    found = FusedNorm.of(*parts_of(norm), eps).gain.values
    spread = ((found - exact) * norm.running_var.sqrt()).abs()
    assert float(spread.max()) < 0.05 * float(norm.weight.abs().max())


def test_logarithmic_codes() -> None:
    exact = torch.tensor([1e4, -1e2, 1.0, 0.5, -0.25, 0.0, 1e-3])
    coded = CodedVector.fit(exact, 1 / exact.square().clamp(min=1e-6))
    assert coded.zero == 255 and coded.values[5] == 0 and coded.values[6] == 0
    assert torch.allclose(coded.values[:5], exact[:5], rtol=0.0443)
    again = CodedVector.fit(coded.values, torch.ones(7))
    assert torch.equal(again.values, coded.values)
    found, _ = CodedVector.read(memoryview(coded.to_bytes()), 7)
    assert torch.equal(found.values, coded.values)


def test_a_dead_channel_does_not_set_the_step() -> None:
    """Its gain is gamma / sqrt(eps), some hundred times the others'; its inputs never vary."""
    weight, var = torch.ones(32), torch.full((32,), 4.0)
    var[7] = 0
    zeros = torch.zeros(32)
    gain = FusedNorm.of(weight, zeros, zeros, var, 1e-5).gain.values
    others = torch.arange(32) != 7
    assert torch.allclose(gain[others], torch.full((31,), 0.5), rtol=0.05)


def test_the_shift_makes_up_for_the_gain() -> None:
    """At its mean input, each channel gives what it gave: beta, to within half a step."""
    norm = norm_of(3)
    with torch.no_grad():
        norm.running_mean.mul_(20)
        fused = FusedNorm.of(*parts_of(norm), norm.eps)
        x = norm.running_mean.reshape(1, -1, 1, 1)
        step = (fused.shift.values.max() - fused.shift.values.min()) / 255 * 1.2
        error = (written(norm, fused)(x) - norm(x)).abs()
    assert float(error.max()) < float(step)


@pytest.mark.parametrize(
    "values", [[0.0], [0.0, 0.0], [3.0], [-3.0, -3.0], [1e-30, 2e-30], [1e30, 1e30]]
)
def test_special_vectors(values: list[float]) -> None:
    exact = torch.tensor(values)
    found = CodedVector.fit(exact, torch.ones(len(values))).values
    assert torch.isfinite(found).all()
    limited = exact.clamp(-235 * 255, 235 * 255)
    assert torch.allclose(found, limited, rtol=0.05, atol=1e-7)


def test_numbers_that_are_not_finite_become_finite() -> None:
    bad = torch.tensor([math.nan, math.inf, -math.inf, 1.0])
    fused = FusedNorm.of(bad, bad, bad, bad.abs(), 1e-5)
    assert all(torch.isfinite(t).all() for t in fused.tensors(torch.float32))


# ---- which batch norms, and in whole networks


class Other(nn.BatchNorm2d):
    """A batch norm that means something else by its weight."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + self.weight.sum()
        return out


def network(*norms: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for norm in norms:
        layers += [nn.Conv2d(8, 8, 1), norm]
    return nn.Sequential(*layers).eval()


def store_of(model: nn.Module) -> CompressionStore:
    pipeline = Pipeline(MagnitudePruner(), UniformQuantizer())
    return CompressionStore(model, analyse(model, torch.rand(2, 8, 4, 4)), pipeline=pipeline)


def test_which_are_fused() -> None:
    shared = norm_of(4, channels=8)
    tied = norm_of(5, channels=8)
    tied.bias = shared.bias
    model = network(
        norm_of(0, channels=8), nn.SyncBatchNorm(8), nn.GroupNorm(2, 8),
        nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(8, track_running_stats=False), Other(8),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True), shared, tied,
        norm_of(6, channels=8).double().float(),
    )  # fmt: skip
    found = analyse(model, torch.rand(2, 8, 4, 4))
    assert found.norms == ("1", "3", "19")
    assert set(found.side) >= {f"{name}.{part}" for name in found.norms for part in PARTS}
    assert eps_of(model).items() >= {"1": 1e-5, "3": 1e-5, "19": 1e-5}.items()
    assert analyse(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), torch.rand(2, 8)).norms == ()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@torch.no_grad()
def test_the_file_holds_the_evaluated_network(dimensions: int) -> None:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    model = nn.Sequential(
        conv(8, 12, 3), norm_of(1, 1e-3, 12, kind), nn.ReLU(), conv(12, 6, 1),
        norm_of(2, 1e-5, 6, kind), nn.Flatten(), nn.LazyLinear(4),
    ).eval()  # fmt: skip
    x = torch.randn(3, 8, *[5] * dimensions)
    model(x)
    pipeline = Pipeline(MagnitudePruner(), UniformQuantizer())
    store = CompressionStore(model, analyse(model, x), pipeline=pipeline)
    assert store.network.norms == ("1", "4")
    used = copy.deepcopy(model)
    writer = PlanWriter(used, store)
    plan = Plan(dict.fromkeys(store.network.names, Choice.of(weight_bits=8)))
    writer.write(plan)
    used[1].running_mean.add_(0.1)  # as a correction of the statistics does
    used[4].running_var.mul_(1.3)
    before = used(x)
    writer.round_side(plan)
    scores = used(x)
    assert torch.allclose(scores, before, atol=0.05 * float(before.abs().max()))
    writer.round_side(plan)
    assert torch.equal(used(x), scores)
    data = pack(packed(store, plan, used.state_dict()))
    dense = pack(packed(store, plan, model.state_dict()))
    assert len(data) == len(dense) <= total(make_cost("size", store), store.network, plan)
    found = unpack(data)
    assert found.norms == store.network.norms
    again = copy.deepcopy(model)
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(x), scores)
    # the next plan starts from the dense batch norms
    writer.write(store.network.neutral_plan())
    writer.round_side(store.network.neutral_plan())
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in used.state_dict().items())


def test_other_normalisation_is_float16() -> None:
    model = network(nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True), Other(8))
    network_of = analyse(model, torch.rand(2, 8, 4, 4))
    side = {name: model.state_dict()[name] + 0.1 for name in network_of.side}
    rounded = round_side(side, SideForm.of(side, network_of.norms, eps_of(model)))
    assert all(torch.equal(rounded[name], side[name].half().float()) for name in side)


def test_a_model_that_is_not_rounded_is_refused() -> None:
    store = store_of(network(norm_of(0, channels=8)))
    plan = Plan(dict.fromkeys(store.network.names, Choice.of(weight_bits=4)))
    model = packed(store, plan, store.model.state_dict())
    pack(model)
    for part in PARTS:
        side = {**model.side, f"1.{part}": model.side[f"1.{part}"] + 0.123}
        with pytest.raises(ArtifactError, match=r"as `round_side` leaves them, but '1' has other"):
            pack(type(model)(**{**vars(model), "side": side}))
