"""Layers of every kind that has a low-rank form, small, in float64, with odd geometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.recovery.gram import Gram
from autocomp.network.analysis import analyse

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


def layer_and_inputs(name: str, **to: Any) -> tuple[nn.Module, Tensor]:
    """Returns a layer and correlated inputs with a mean, in float64 unless told otherwise."""
    make, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(0)
    to = {"dtype": torch.float64, **to}
    module = make()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    axis = x.dim() - 1 if isinstance(module, nn.Linear) else 1
    mix = torch.randn(shape[axis], shape[axis], generator=generator, dtype=torch.float64)
    x = (x.movedim(axis, -1) @ mix + 0.5).movedim(-1, axis)
    return module.to(**to), x.to(**to)


def gram_of(module: nn.Module, x: Tensor, limit: int = 1024, centred: bool | None = None) -> Gram:
    """Returns the moments of a layer's inputs; centred where it has a bias, unless told."""
    model = nn.Sequential(module)
    network = analyse(model, x[:1])
    gram = input_moments(model, network, [x], limit)["0"]
    if centred is None or centred == gram.centred:
        return gram
    return gram.centre() if centred else Gram(gram.layout, gram.second, gram.mean, gram.count)


@pytest.fixture(params=LAYERS)
def name(request: pytest.FixtureRequest) -> str:
    """Every layer's name, one at a time."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def make() -> Callable[..., tuple[nn.Module, Tensor]]:
    """`layer_and_inputs`."""
    return layer_and_inputs


@pytest.fixture
def moments() -> Callable[..., Gram]:
    """`gram_of`."""
    return gram_of


@pytest.fixture
def every_name() -> list[str]:
    """The names of all layers."""
    return list(LAYERS)
