"""Costs and losses of plans that leave every shape alone: both add up over layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autocomp.allocation.separable import SeparableAllocation
from autocomp.costs import layer_cost
from autocomp.problem.limits import fixed_costs, out_of_reach
from autocomp.problem.stated import Losses, Menus, StatedProblem


def separable_allocation(
    problem: StatedProblem, menus: Menus, losses: Callable[[], Losses] | None = None
) -> SeparableAllocation:
    """Returns what can meet the budgets when layer t takes one of `menus[t]`.

    Args:
        problem: the problem; the tables of these choices are made, or read.
        menus: the choices of each layer.
        losses: gives the choices' losses where they are known.

    Raises:
        BudgetError: if nothing can; it names the smallest value that these choices reach.
    """
    problem.store.prepare(menus)
    names = [budget.cost for budget in problem.budgets]
    costs = [
        np.array([[layer_cost(problem.costs[n], layer, c) for n in names] for c in menu], np.int64)
        for layer, menu in zip(problem.network.layers, menus, strict=True)
    ]
    fixed = fixed_costs(problem, menus)
    limits = np.array([problem.limits[n] for n in names], np.int64) - fixed
    made = SeparableAllocation(
        costs, limits, losses or (lambda: problem.losses(menus)), problem.settings.min_utilisation
    )
    if not made.possible:
        raise out_of_reach(problem, made.cheapest + fixed)
    return made
