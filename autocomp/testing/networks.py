"""Small networks, with their groups of channels written down by hand, and their statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.store import CompressionStore
from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.network.analysis import analyse


@dataclass
class Case:
    """A network in eval mode, its groups, and examples with labels."""

    model: nn.Module
    groups: list[ChannelGroup]
    inputs: Tensor
    labels: Tensor

    @property
    def batches(self) -> list[tuple[Tensor, Tensor | None]]:
        """The examples in two batches."""
        return [(self.inputs[:3], self.labels[:3]), (self.inputs[3:], self.labels[3:])]


def singles(n: int) -> tuple[tuple[int, ...], ...]:
    """Returns one place for each of `n` units."""
    return tuple((i,) for i in range(n))


def group(name: str, units: int, *members: tuple[str, str]) -> ChannelGroup:
    """Returns a group whose units have one place on every axis."""
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
        """Returns the logits."""
        x = F.relu(self.stem(x))
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += x
        scores: Tensor = self.head(F.adaptive_avg_pool2d(F.relu(out), 1).flatten(1))
        return scores


Parts = tuple[nn.Module, list[ChannelGroup], tuple[int, ...]]
"""A network, its groups, and the shape of an example."""


def _mlp() -> Parts:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    groups = [group("0", 4, ("0", "out"), ("2", "in")), group("2", 5, ("2", "out"), ("4", "in"))]
    return model, groups, (3,)


def _chain() -> Parts:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    groups = [
        group("0", 4, ("0", "out"), ("1", "side"), ("3", "in")),
        group("3", 6, ("3", "out"), ("7", "in")),
    ]
    return model, groups, (2, 5, 5)


def _residual() -> Parts:
    groups = [
        group("stem", 4, ("stem", "out"), ("conv2", "out"), ("bn2", "side"), ("conv1", "in"),
              ("head", "in")),
        group("conv1", 5, ("conv1", "out"), ("bn1", "side"), ("conv2", "in")),
    ]  # fmt: skip
    return Residual(), groups, (2, 4, 4)


def _depthwise() -> Parts:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU6(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU6(),
        nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    groups = [group("0", 4, ("0", "out"), ("2", "out"), ("2", "in"), ("4", "in"))]
    return model, groups, (2, 4, 4)


def _flatten() -> Parts:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    )
    places = tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(3))
    members = (Member("0", "out", singles(3)), Member("4", "in", places))
    return model, [ChannelGroup("0", 3, members)], (1, 4, 4)


NETS: dict[str, Callable[[], Parts]] = {
    "mlp": _mlp, "chain": _chain, "residual": _residual, "depthwise": _depthwise,
    "flatten": _flatten,
}  # fmt: skip


def case(name: str) -> Case:
    """Returns a fresh copy of a network of `NETS`."""
    generator = torch.Generator().manual_seed(len(name))
    with torch.random.fork_rng(devices=[]):
        model, groups, shape = NETS[name]()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(noise.abs() + 0.5 if "running_var" in key else noise * 0.6)
    inputs = torch.randn(7, *shape, generator=generator)
    return Case(model.eval(), groups, inputs, torch.tensor([0, 1, 2, 2, 1, 0, 1]))


def small_network() -> nn.Module:
    """Returns a network of 3 x 8 x 8 images with a layer of each common kind, and batch norm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 1, groups=4), nn.ReLU(),
            nn.ConvTranspose2d(32, 8, 2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip
    return model.eval()


def calibrated(model: nn.Module, keep: tuple[str, ...] = ()) -> CompressionStore:
    """Returns the store of a network of 3 x 8 x 8 images, with statistics of sixteen of them."""
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    network = analyse(model, images[:2], keep)
    return CompressionStore(
        model, network, calibrate(model, network, [images]),
        moments=lambda: input_moments(model, network, [images]), example=images[:1],
    )  # fmt: skip
