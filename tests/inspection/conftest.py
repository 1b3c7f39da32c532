"""One small problem, its menus, and the toy problem whose losses are separable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocomp.search_spaces import FeasibleSpace, feasible_space
from torch import nn

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.data.splits import DataSplits
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.testing import ToyProblem

MakeMenu = Callable[..., FeasibleSpace]


@pytest.fixture(scope="session")
def small_problem(
    _trained_tiny: nn.Module, tiny_data: DataSplits, table_folder: Path
) -> CompressionProblem:
    settings = ProblemSettings(search_images=40, cache=table_folder / "autocomp")
    return CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, "size=10%", settings)


@pytest.fixture(scope="session")
def menu_of(small_problem: CompressionProblem) -> MakeMenu:
    """Returns the small network's menu in a space, under other budgets if they are given."""
    made: dict[tuple[str, str], FeasibleSpace] = {}

    def make(space: str = "joint:levels=6,weight_bits=2/4/8", budgets: str = "") -> FeasibleSpace:
        if (space, budgets) not in made:
            problem = small_problem.under(budgets) if budgets else small_problem
            made[space, budgets] = feasible_space(problem, space)
        return made[space, budgets]

    return make


@pytest.fixture(scope="session")
def make_separable() -> Callable[..., Any]:
    """Builds toy problems whose divergence is the toy's loss."""

    class Separable(ToyProblem):
        def evaluate(self, plan: Plan, fidelity: Fidelity | str = "F1") -> Outcome:
            outcome = super().evaluate(plan, fidelity)
            return replace(outcome, divergence=outcome.loss)

    return Separable
