"""One tiny problem for all tests of this folder: its tables are built once."""

from __future__ import annotations

import pytest

from autocomp.problem.problem import CompressionProblem


@pytest.fixture(scope="session")
def tiny_problem(shared_problem: CompressionProblem) -> CompressionProblem:
    """Shadows the fixture of the same name, which builds one a test."""
    return shared_problem
