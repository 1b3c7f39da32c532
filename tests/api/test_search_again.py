"""The result of a search is the next one's network: prune, quantize, tune, in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import autocomp
from autocomp.api.result import Result
from autocomp.compression.loading import read
from autocomp.data.splits import DataSplits
from autocomp.network.analysis import analyse


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.b, self.f = nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.n(self.a(x)))))
        return self.f(x.mean((2, 3)))  # type: ignore[no-any-return]


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Conv2d(3, 16, 2, stride=2)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.g, self.h = nn.Linear(16, 64), nn.Linear(64, 16)
        self.f = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.p(x).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.h(torch.relu(self.g(x)))
        return self.f(x.mean(1))  # type: ignore[no-any-return]


def trained(make: Callable[[], nn.Module], data: DataSplits) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            split = data.calibration
            loss = nn.functional.cross_entropy(model(split.images), split.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


def search(model: nn.Module, data: DataSplits, out: Path, budget: Any, space: str) -> Result:
    return autocomp.search(
        model, data, budget, space=space, agent="dp", evaluations=1, report="none", out=out
    )


STEPS = {
    "prune, quantize": [("macs=60%", "structured:levels=4"), ("size=25%", "bits")],
    "quantize, prune": [("size=30%", "bits"), ("macs=60%", "structured:levels=4")],
    "prune twice": [("macs=75%", "structured:levels=4"), ("macs=50%", "structured:levels=4")],
    "factors, quantize": [("macs=60%", "rank"), ("size=25%", "joint:levels=4")],
    "factors, prune": [("macs=70%", "rank"), ("macs=50%", "structured:levels=4")],
    "prune, factors, quantize": [
        ("macs=80%", "structured:levels=4"), ("macs=60%", "rank"), ("size=25%", "bits"),
    ],
    "inputs, weights": [("bitops=18%", "bits:activation_bits=4/32"), ("size=20%", "bits")],
    "inputs twice": [
        ("bitops=18%", "bits:activation_bits=4/32"), ("bitops=18%", "bits:activation_bits=3/8/32"),
    ],
    "inputs, prune": [
        ("bitops=18%", "bits:activation_bits=4/32"), ("bitops=60%", "structured:levels=4"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("make", [Convolutional, Attentive])
@pytest.mark.parametrize("name", STEPS)
def test_each_file_holds_the_network_and_its_history(
    make: Callable[[], nn.Module], name: str, tiny_data: DataSplits, tmp_path: Path
) -> None:
    network: nn.Module = trained(make, tiny_data)
    plans = []
    images = tiny_data.search.images
    for number, (budget, space) in enumerate(STEPS[name]):
        found = search(network, tiny_data, tmp_path / str(number), budget, space)
        file = found.run.path / "model.safetensors"
        expected = found.model(images)
        assert read(file).history == tuple(plans)
        for given in (make(), found.model, network):
            assert torch.allclose(autocomp.load(file, model=given)(images), expected, atol=1e-5)
        assert file.stat().st_size <= found.best.costs["size"]
        plans.append(read(file).plan)
        with torch.no_grad():  # tuned, saved and loaded again
            found.model.f.weight.mul_(0.99)  # type: ignore[union-attr, operator]
        tuned = autocomp.save(found.model, tmp_path / f"tuned-{number}.safetensors")
        network = autocomp.load(tuned, model=make())


def test_bits_of_inputs_that_stay_are_counted(tiny_data: DataSplits, tmp_path: Path) -> None:
    net = trained(Convolutional, tiny_data)
    first = search(net, tiny_data, tmp_path / "1", "bitops=2%", "bits:activation_bits=4")
    second = search(first.model, tiny_data, tmp_path / "2", "size=90%", "bits:weight_bits=8/16")
    macs = {x.name: x.macs for x in analyse(net, tiny_data.search.images[:2]).layers}
    bitops = sum(macs[name] * choice.weights.bits * 4 for name, choice in second.plan.items())
    assert second.best.costs["bitops"] == bitops
    third = search(second.model, tiny_data, tmp_path / "3", "bitops=99%", "bits:activation_bits=8")
    hooks = [m._forward_pre_hooks.values() for m in third.model.modules()]
    assert {hook.bits for found in hooks for hook in found} == {8}


def test_a_network_that_was_rebuilt_is_a_new_one(tiny_data: DataSplits, tmp_path: Path) -> None:
    net = trained(Convolutional, tiny_data)
    first = search(net, tiny_data, tmp_path / "1", "macs=60%", "structured:levels=4")
    model: Any = first.model
    model.f = nn.Linear(model.f.in_features, 4, bias=False)
    second = search(model, tiny_data, tmp_path / "2", "size=40%", "bits")
    packed = read(second.run.path / "model.safetensors")
    assert packed.history == () and packed.structure is None
