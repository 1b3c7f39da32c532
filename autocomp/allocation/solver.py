"""What solves a knapsack, for a whole plan at once and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autocomp.allocation.dynamic_program import POINTS, DynamicProgram
from autocomp.allocation.integer_program import IntegerProgram
from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.pareto import Floats, Ints


class Solver(Protocol):
    """The contract of `DynamicProgram` and `IntegerProgram`; see there."""

    @property
    def plan(self) -> list[int]:
        """The plan of least loss."""
        ...

    def choose(self, step: int, used: Ints, multiplier: float = 1.0) -> int:
        """Returns the best choice of one layer, its losses multiplied and the later ones not."""
        ...

    def interval(self, step: int, used: Ints, index: int) -> tuple[float, float] | None:
        """Returns multipliers for which `choose` gives `index`, as far as is known."""
        ...

    def reweighted(self, multipliers: Floats) -> list[int]:
        """Returns the best plan with each layer's losses multiplied."""
        ...

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """Returns the best plan for other losses of the same choices."""
        ...


def make_solver(model: Knapsack, points: int = POINTS) -> Solver:
    """Returns the dynamic program for one budget, the integer program for several.

    Args:
        model: losses and costs.
        points: partial plans that the dynamic program keeps a layer.
    """
    return DynamicProgram(model, points) if model.limits.size == 1 else IntegerProgram(model)
