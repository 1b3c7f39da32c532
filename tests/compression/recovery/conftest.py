"""Small networks, one for each kind of layer, with inputs that exercise strides and padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.recovery.gram import Gram
from autocomp.core.layer_spec import LayerSpec
from autocomp.network.analysis import analyse


class Flat(nn.Module):
    """Runs one module, then averages what is left to (n, features)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y.flatten(2).mean(2) if y.dim() > 2 else y


class SelfAttention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x)[0].mean(1)


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (40, 6)),
    "linear on sequences": (lambda: nn.Linear(6, 4, bias=False), (40, 3, 6)),
    "conv": (lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False), (8, 3, 6, 6)),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (8, 3, 7, 7)),
    "dilated": (lambda: nn.Conv2d(2, 3, (3, 2), dilation=(2, 1)), (8, 2, 9, 8)),
    "same": (lambda: nn.Conv2d(2, 3, 3, dilation=2, padding="same"), (8, 2, 6, 6)),
    "reflect": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (8, 2, 6, 6)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=(1, 0), padding_mode="circular"), (8, 2, 6, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (8, 4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), (8, 4, 6, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 5, stride=2), (8, 3, 17)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (6, 2, 4, 5, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (8, 3, 5, 5)),
    "transposed, output padding": (
        lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1, dilation=2), (8, 3, 5, 5)),
    "transposed, groups": (lambda: nn.ConvTranspose1d(4, 6, 4, stride=3, groups=2), (8, 4, 6)),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of layer in turn."""
    return str(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both floating-point types."""
    dtype: torch.dtype = request.param
    return dtype


class Case:
    """A network of one layer, its inputs, and the moments of them."""

    def __init__(self, kind: str, dtype: torch.dtype = torch.float64, limit: int = 1024) -> None:
        torch.manual_seed(len(kind))
        make, shape = KINDS[kind]
        self.module = make().to(dtype)
        self.model = Flat(self.module).eval()
        mixing = torch.randn(shape[1], shape[1], dtype=dtype)
        x = torch.randn(shape, dtype=dtype) + 0.3
        # correlated channels: without correlation there is nothing to compensate with
        self.x = x if kind == "linear on sequences" else torch.einsum("nc...,cd->nd...", x, mixing)
        network = analyse(self.model, self.x)
        self.layer: LayerSpec = network.layers[0]
        self.gram: Gram = input_moments(self.model, network, [self.x[:3], self.x[3:]], limit)[
            self.layer.name
        ]
        self.weight = self.model.get_parameter(self.layer.parameter).detach()

    def output(self, weight: Tensor) -> Tensor:
        """The module's output with another weight."""
        before = self.module.weight.data
        try:
            self.module.weight.data = weight
            with torch.no_grad():
                result: Tensor = self.module(self.x)
                return result
        finally:
            self.module.weight.data = before


@pytest.fixture
def case(kind: str) -> Case:
    """A network of one layer in float64."""
    return Case(kind)


@pytest.fixture
def make_case() -> type[Case]:
    """Builds cases of other types and limits."""
    return Case


@pytest.fixture
def attention() -> Callable[..., nn.Module]:
    """Builds networks of one attention layer."""
    return SelfAttention
