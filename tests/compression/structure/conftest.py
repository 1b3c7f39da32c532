"""Networks with random weights and batch-norm statistics, their groups, and masks by hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.structure.find import PruningGroups, find_groups
from autocomp.compression.structure.heads import with_heads
from autocomp.core.network import Network
from autocomp.models import build_model
from autocomp.models.digits_cnn import digits_cnn
from autocomp.network.analysis import analyse


class Dense(nn.Module):
    """Concatenation, a transposed and two grouped convolutions, and a flattened input."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.c = nn.Conv2d(16, 6, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.g = nn.Conv2d(4, 8, 3, groups=2, padding=1)
        self.h = nn.Conv2d(8, 4, 3, groups=2, padding=1)
        self.l = nn.Linear(4 * 16 * 16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.b(F.relu(self.bn(x)))
        x = self.c(F.relu(self.bn2(torch.cat([x, y], 1))))
        x = F.relu(self.h(F.relu(self.g(F.relu(self.up(x))))))
        out: Tensor = self.l(x.flatten(1))
        return out


class Grouped(nn.Module):
    """A grouped convolution whose inputs come from two layers, so that neither can lose any."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(3, 4, 3, padding=1)
        self.g = nn.Conv2d(12, 8, 3, padding=1, groups=4)
        self.bn = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 4, 3, padding=1)
        self.act = nn.PReLU(4)
        self.l = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), self.b(x)], 1)
        x = self.act(self.c(F.relu(self.bn(self.g(x)))))
        out: Tensor = self.l(F.max_pool2d(x, 2).flatten(1))
        return out


class Signal(nn.Module):
    """One dimension: depthwise, grouped transposed, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 6, 3, padding=1)
        self.depth = nn.Conv1d(6, 6, 3, padding=1, groups=6)
        self.bn = nn.BatchNorm1d(6)
        self.mix = nn.Conv1d(6, 6, 1, bias=False)
        self.up = nn.ConvTranspose1d(6, 8, 2, stride=2, groups=2)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + self.mix(F.relu(self.bn(self.depth(x))))
        out: Tensor = self.out(F.relu(self.up(x)).mean(2))
        return out


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (Dense, (3, 8, 8)),
    "grouped": (Grouped, (3, 8, 8)),
    "signal": (Signal, (2, 10)),
    "digits": (lambda: digits_cnn(8), (1, 8, 8)),
    "mlp": (lambda: build_model("mlp", in_features=20, hidden=[16, 12]), (20,)),
    "vit": (lambda: build_model("vit", image_size=8, dim=24, depth=2, heads=3), (3, 8, 8)),
    "resnet20": (lambda: build_model("resnet20"), (3, 16, 16)),
    "resnet56": (lambda: build_model("resnet56"), (3, 8, 8)),
    "vgg11": (lambda: build_model("vgg11"), (3, 32, 32)),
    "mobilenetv2": (lambda: build_model("mobilenetv2"), (3, 16, 16)),
}
LARGE = ("resnet56", "vgg11", "mobilenetv2")


@dataclass(frozen=True)
class Case:
    """A network whose attention has heads, and what was found in it; do not modify."""

    name: str
    plain: nn.Module
    model: nn.Module
    x: Tensor
    network: Network
    found: PruningGroups

    def kept(self, seed: int, share: float | None = None) -> dict[str, list[int]]:
        """Returns random units, at least one of each group; all of some groups."""
        rng = torch.Generator().manual_seed(seed)
        kept = {}
        for group in self.found.groups:
            count = int(torch.randint(1, group.units + 1, (1,), generator=rng))
            if share is not None:
                count = max(1, int(group.units * share))
            kept[group.name] = sorted(
                torch.randperm(group.units, generator=rng)[:count].tolist()
            )  # fmt: skip
        return kept


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Gives batch norms statistics and parameters of their own; in evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5), (module.bias, -0.3, 0.3),
            ):  # fmt: skip
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=rng)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(0.1, 0.5, generator=rng)
    return model.eval()


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random weights and inputs each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def cases() -> Callable[[str], Case]:
    """Returns a function that makes a network of `NETS`, each once."""
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            build, shape = NETS[name]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                plain = randomise(build())
                x = torch.randn(3, *shape)
            model = copy.deepcopy(plain)
            with_heads(model)
            network = analyse(model, x)
            made[name] = Case(name, plain, model, x, network, find_groups(model, network, x))
        return made[name]

    return case


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@pytest.fixture(params=[(n, seed) for n in NETS for seed in range(1 if n in LARGE else 3)], ids=str)
def drawn(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> tuple[Case, int]:
    """A network and a seed for what it loses; the large ones once."""
    name, seed = request.param
    return cases(name), seed


@pytest.fixture
def hooked() -> Callable[[nn.Module, Sequence[Any], Mapping[str, Sequence[int]], Tensor], Tensor]:
    """Runs a network with zeros for what its layers read of units that are gone.

    It shares nothing with slicing and masking: inputs are zeroed, not weights.
    """

    def run(
        model: nn.Module, groups: Sequence[Any], kept: Mapping[str, Sequence[int]], x: Tensor
    ) -> Tensor:
        model = copy.deepcopy(model)
        gone: dict[str, set[int]] = {}
        for group in groups:
            lost = set(range(group.units)) - set(kept.get(group.name, range(group.units)))
            for member in group.by_role("in"):
                places = {c for unit in lost for c in member.channels[unit]}
                gone.setdefault(member.module, set()).update(places)

        def zero(places: list[int], axis: int) -> Callable[..., Any]:
            def hook(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
                (given,) = inputs
                return (given.index_fill(axis, torch.tensor(places, dtype=torch.long), 0.0),)

            return hook

        for name, places in gone.items():
            module = model.get_submodule(name)
            axis = -1 if isinstance(module, nn.Linear) else 1
            module.register_forward_pre_hook(zero(sorted(places), axis))
        with torch.inference_mode():
            out: Tensor = model(x)
        return out

    return run
