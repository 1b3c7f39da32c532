"""The small networks with their groups written down by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autocomp.testing import networks
from autocomp.testing.networks import NETS, Case


@pytest.fixture
def case() -> Callable[[str], Case]:
    """Builds a fresh copy of a network by name."""
    return networks.case


@pytest.fixture(params=list(NETS))
def any_case(request: pytest.FixtureRequest) -> Case:
    return networks.case(request.param)
