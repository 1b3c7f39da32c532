"""One tiny problem for all tests of this folder: its tables are built once."""

from __future__ import annotations

import copy

import pytest
from torch import nn

from autocomp.data.splits import DataSplits
from autocomp.problem.problem import CompressionProblem


@pytest.fixture(scope="session")
def tiny_problem(_trained_tiny: nn.Module, tiny_data: DataSplits) -> CompressionProblem:
    """Shadows the fixture of the same name, which builds one a test."""
    return CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, "size=60%")
