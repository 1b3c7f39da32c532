"""From a problem and each layer's choices to their allocation."""

from __future__ import annotations

from collections.abc import Callable

from autocomp.allocation.allocation import Allocation
from autocomp.problem.separable import separable_allocation
from autocomp.problem.stated import Losses, Menus, StatedProblem
from autocomp.problem.structured import StructuredModel


def allocate(
    problem: StatedProblem,
    menus: Menus,
    structural: bool = False,
    losses: Callable[[], Losses] | None = None,
) -> Allocation:
    """Returns what can meet the budgets, and what is best, when layer t takes one of `menus[t]`.

    Args:
        problem: the problem.
        menus: the choices of each layer.
        structural: whether choices may take units or rank away, so that a layer's cost depends on
            its neighbours'.
        losses: gives the choices' losses where they are known; else they are measured when they
            are first needed.

    Raises:
        BudgetError: if nothing meets the budgets; it names the least that these choices reach.
    """
    if structural:
        return StructuredModel(problem, menus).allocation(losses)
    return separable_allocation(problem, menus, losses)
