"""Small networks with their groups written down by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.structure.groups import ChannelGroup, Member


@dataclass
class Case:
    """A network, its groups, and examples with labels."""

    model: nn.Module
    groups: list[ChannelGroup]
    inputs: Tensor
    labels: Tensor

    @property
    def batches(self) -> list[tuple[Tensor, Tensor | None]]:
        return [(self.inputs[:3], self.labels[:3]), (self.inputs[3:], self.labels[3:])]


def singles(n: int) -> tuple[tuple[int, ...], ...]:
    return tuple((i,) for i in range(n))


def group(name: str, units: int, *members: tuple[str, str]) -> ChannelGroup:
    return ChannelGroup(
        name, units, tuple(Member(module, role, singles(units)) for module, role in members)
    )


class Residual(nn.Module):
    """relu(x + bn2(conv2(relu(bn1(conv1(x)))))) between a stem and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 5, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 4, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += x
        scores: Tensor = self.head(F.adaptive_avg_pool2d(F.relu(out), 1).flatten(1))
        return scores


def mlp() -> tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    groups = [group("0", 4, ("0", "out"), ("2", "in")), group("2", 5, ("2", "out"), ("4", "in"))]
    return model, groups, (3,)


def chain() -> tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    groups = [
        group("0", 4, ("0", "out"), ("1", "side"), ("3", "in")),
        group("3", 6, ("3", "out"), ("7", "in")),
    ]
    return model, groups, (2, 5, 5)


def residual() -> tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]:
    groups = [
        group("stem", 4, ("stem", "out"), ("conv2", "out"), ("bn2", "side"), ("conv1", "in"),
              ("head", "in")),
        group("conv1", 5, ("conv1", "out"), ("bn1", "side"), ("conv2", "in")),
    ]  # fmt: skip
    return Residual(), groups, (2, 4, 4)


def depthwise() -> tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU6(),
        nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    groups = [group("0", 4, ("0", "out"), ("2", "out"), ("2", "in"), ("4", "in"))]
    return model, groups, (2, 4, 4)


def flatten() -> tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    )
    places = tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(3))
    members = (Member("0", "out", singles(3)), Member("4", "in", places))
    return model, [ChannelGroup("0", 3, members)], (1, 4, 4)


NETS = {"mlp": mlp, "chain": chain, "residual": residual, "depthwise": depthwise,
        "flatten": flatten}  # fmt: skip


def build(name: str) -> Case:
    generator = torch.Generator().manual_seed(len(name))
    model, groups, shape = NETS[name]()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(noise.abs() + 0.5 if "running_var" in key else noise * 0.6)
    inputs = torch.randn(7, *shape, generator=generator)
    return Case(model.eval(), groups, inputs, torch.tensor([0, 1, 2, 2, 1, 0, 1]))


@pytest.fixture
def case() -> Callable[[str], Case]:
    """Builds a fresh copy of a network by name."""
    return build


@pytest.fixture(params=list(NETS))
def any_case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)
