"""Whatever a file holds narrower, the network computes the same but for rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from autocomp.artifacts.container import pack, unpack
from autocomp.compression.packing import packed
from autocomp.compression.store import CompressionStore
from autocomp.compression.weights import MagnitudePruner, Pipeline, UniformQuantizer
from autocomp.compression.writer import PlanWriter
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.costs import make_cost
from autocomp.costs.base import total
from autocomp.network.analysis import analyse

X = torch.randn(64, 8, 4, 4, generator=torch.Generator().manual_seed(0))


def norm(affine: bool, mean: float, deviation: float, eps: float = 1e-5) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(8, eps, affine=affine)
    spread = torch.linspace(0.5, 2.0, 8)
    made.running_mean.fill_(mean)  # type: ignore[union-attr]
    made.running_var.copy_((deviation * spread) ** 2)  # type: ignore[union-attr]
    return made


def check(model: nn.Module, x: Tensor, tolerance: float = 0.02) -> set[str]:
    """Writes a plan of eight bits; returns what is wide once the file gives the same outputs."""
    model = model.eval()
    store = CompressionStore(
        model, analyse(model, x), pipeline=Pipeline(MagnitudePruner(), UniformQuantizer())
    )
    plan = Plan(dict.fromkeys(store.network.names, Choice.of(weight_bits=8)))
    exact, used = copy.deepcopy(model), copy.deepcopy(model)
    PlanWriter(exact, store).write(plan)
    writer = PlanWriter(used, store)
    writer.write(plan)
    with torch.no_grad():
        before = exact(x)
        writer.round_side(plan)
        after = used(x)
    assert torch.allclose(after, before, atol=tolerance * float(before.abs().max()))
    data = pack(packed(store, plan, used.state_dict()))
    found = unpack(data)
    assert all(torch.equal(t, used.state_dict()[name]) for name, t in found.state_dict().items())
    assert len(data) <= total(make_cost("size", store), store.network, plan)
    assert found.wide == store.side_form.wide and found.norms == tuple(store.side_form.norms)
    return set(found.wide)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("mean", [0.0, 1.0, 3e3, 1e6, -1e9])
@pytest.mark.parametrize("deviation", [1e-6, 1e-3, 1.0, 4e3, 1e7, 1e12])
def test_batch_norms_of_any_range(affine: bool, mean: float, deviation: float) -> None:
    made = norm(affine, mean, deviation, eps=min(1e-5, deviation**2 / 10))
    model = nn.Sequential(made, nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3)).double()
    spread = made.running_var.sqrt()[:, None, None]  # type: ignore[union-attr, operator]
    x = X.double() * spread + mean
    wide = check(model, x)
    if affine or (mean == 0 and deviation == 1.0):
        return
    assert ("0.running_var" in wide) == (deviation not in (1.0,))


def test_usual_networks_have_nothing_wide() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(norm(True, 0.3, 1.0), nn.Conv2d(8, 4, 3), nn.GroupNorm(2, 4))
    assert check(model, X) == set()


@pytest.mark.parametrize("shift", [100.0, 1000.0])
def test_a_bias_that_a_norm_takes_away_is_held_in_full(shift: float) -> None:
    torch.manual_seed(0)
    made = norm(True, shift, 0.5)
    model = nn.Sequential(nn.Conv2d(8, 8, 3), made, nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        model[0].bias.fill_(shift)  # type: ignore[union-attr, operator]
        model[0].bias += torch.rand(8)  # type: ignore[union-attr]
    assert "0.bias" in check(model, X)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_biases_and_gains_beyond_float16(scale: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model[0].bias.mul_(scale)  # type: ignore[union-attr, operator]
        model[1].weight.mul_(scale)  # type: ignore[union-attr, operator]
        model[3].weight.div_(scale)  # type: ignore[union-attr, operator]
    assert {"0.bias", "1.weight"} <= check(model, X)


def test_one_gain_far_from_the_others_is_not_fused() -> None:
    made = norm(True, 0.0, 1.0)
    with torch.no_grad():
        made.bias[0] = 1e5
    model = nn.Sequential(made, nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model[1].weight[:, 0] = 0  # type: ignore[union-attr, index]
    assert check(model, X) == {"0.bias"}
