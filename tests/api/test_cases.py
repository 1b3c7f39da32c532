"""Small inputs that users of such tools have reported: what is evaluated is what the file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import autocomp
from autocomp.api.result import Result
from autocomp.exporters.onnx_run import export_run
from autocomp.runtime import is_available

Pair = tuple[Tensor, Tensor]


def blobs(shape: tuple[int, ...], noise: float = 1.0, scale: float = 1.0) -> tuple[Pair, ...]:
    means = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))

    def one(seed: int) -> Pair:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (150,), generator=generator)
        images = means[labels] + noise * torch.randn(150, *shape, generator=generator)
        return scale * images, labels

    return one(1), one(2), one(3)


def trained(make: Callable[[], nn.Module], pair: Pair, steps: int = 80) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            rows = torch.randint(150, (64,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pair[0][rows]), pair[1][rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, pair: Pair) -> float:
    return float((model(pair[0]).argmax(1) == pair[1]).float().mean())


@torch.no_grad()
def loss(model: nn.Module, pair: Pair) -> float:
    return float(F.cross_entropy(model(pair[0]), pair[1]))


def search(model: nn.Module, data: Any, out: Path, budget: str, **settings: Any) -> Result:
    return autocomp.search(
        model, data, budget, agent="dp", evaluations=1, threads=1, report="none", cache="none",
        out=out, **settings,
    )  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 10, 3, padding=1), nn.Conv2d(10, 10, 3, padding=1)
        self.f = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))  # type: ignore[no-any-return]


class Normed(Net):
    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.n = nn.BatchNorm2d(3, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.n(x))


class Viewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.f = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.c(x)), 2)
        return self.f(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 24), nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.b(F.relu(self.a(x))))


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.c = Block(), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.block(x))  # type: ignore[no-any-return]


def test_a_forward_pass_that_a_wrapper_replaced(tmp_path: Path) -> None:
    """The file's accuracy is the one that was claimed, and every layer's MACs are counted."""
    data = blobs((12,), noise=2.0)
    net = trained(Rows, data[0])
    inner = net.block.forward
    net.block.forward = lambda x: inner(x)
    found = search(net, data, tmp_path / "r", "size=18%")
    file = autocomp.load(found.run.path / "model.safetensors", model=Rows())
    assert accuracy(file, data[1]) == pytest.approx(found.best.accuracy, abs=1e-6)
    assert accuracy(file, data[2]) == pytest.approx(found.summary.test.accuracy, abs=1e-6)
    assert found.summary.dense["macs"] == 12 * 24 + 24 * 24 + 24 * 4


@pytest.mark.parametrize(("budget", "space"), [("size=50%", "joint:levels=6"),
                                               ("macs=60%", "structured:levels=4")])  # fmt: skip
def test_a_view_after_a_pooling_layer(budget: str, space: str, tmp_path: Path) -> None:
    data = blobs((3, 8, 8))
    net = trained(Viewed, data[0])
    found = search(net, data, tmp_path / "r", budget, space=space)
    assert found.best.accuracy > 0.9
    assert accuracy(found.model, data[1]) == pytest.approx(found.best.accuracy, abs=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_a_variance_beyond_16_bits(affine: bool, tmp_path: Path) -> None:
    data = blobs((3, 8, 8), scale=3000.0)
    net = trained(lambda: Normed(affine), data[0], 120)
    found = search(net, data, tmp_path / "r", "size=40%")
    file = autocomp.load(found.run.path / "model.safetensors", model=Normed(affine))
    assert float(net.n.running_var.max()) > 1e6
    assert abs(loss(file, data[1]) - loss(net, data[1])) < 0.05


def test_a_second_search_after_bits_of_activations(tmp_path: Path) -> None:
    data = blobs((3, 8, 8), noise=1.5)
    first = search(
        trained(Net, data[0]), data, tmp_path / "1", "bitops=1%", space="bits:activation_bits=2"
    )
    second = search(first.model, data, tmp_path / "2", "size=25%")
    file = autocomp.load(second.run.path / "model.safetensors", model=Net())
    assert torch.equal(file(data[1][0]), second.model(data[1][0]))
    assert accuracy(file, data[1]) == pytest.approx(second.best.accuracy, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    """Found, loaded, exported; the size that was claimed is the file's within 16 bytes and 3."""
    data = blobs((3, 8, 8))
    net = trained(Net, data[0]).to(dtype)
    found = search(net, data, tmp_path / "r", "size=50%")
    file = found.run.path / "model.safetensors"
    loaded, images = autocomp.load(file, model=net), data[1][0].to(dtype)
    assert torch.equal(loaded(images), found.model(images))
    bits = {choice.weights.bits for choice in found.plan.values()}
    if 32 not in bits:
        assert 0 <= found.best.costs["size"] - file.stat().st_size <= 19
    if is_available():
        check = export_run(file, tmp_path / "m.onnx", autocomp.data.as_splits(data), net, repeats=3)
        assert check.check.agreement > 0.98
