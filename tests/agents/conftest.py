"""The toy problem whose optimum is known."""

from __future__ import annotations

from typing import Any

import pytest

from autocomp.testing import ToyProblem


@pytest.fixture
def toy() -> Any:
    """A toy problem at 12 % of its size."""
    return ToyProblem("size=12%")


@pytest.fixture
def make_toy() -> Any:
    """Builds toy problems at other budgets."""
    return ToyProblem
