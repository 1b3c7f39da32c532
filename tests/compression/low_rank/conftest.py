"""Layers of every kind that has a low-rank form, small, in float64, with odd geometry."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram
from autocomp.testing.decomposition import LAYERS, layer_and_inputs, moments_of


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
    """`moments_of`."""
    return moments_of


@pytest.fixture
def every_name() -> list[str]:
    """The names of all layers."""
    return list(LAYERS)
