"""Costs and losses of plans that leave every shape alone: both add up over layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autocomp.allocation.separable import SeparableAllocation
from autocomp.costs import estimated_cost
from autocomp.problem.limits import fixed_costs, out_of_reach
from autocomp.problem.stated import Losses, Menus, StatedProblem

_ROUNDS = 40
"""Most times that the best plan's options are made and the best plan is looked for again."""


def separable_allocation(
    problem: StatedProblem, menus: Menus, losses: Callable[[], Losses] | None = None
) -> SeparableAllocation:
    """Returns what can meet the budgets when layer t takes one of `menus[t]`.

    Args:
        problem: the problem; the tables of these choices are made, or read. Where they are
            estimates, the options of the best plan are made, until the best plan is one of options
            that are made.
        menus: the choices of each layer.
        losses: gives the choices' losses where they are known.

    Raises:
        BudgetError: if nothing can; it names the smallest value that these choices reach.
    """
    problem.store.prepare(menus)
    fixed = fixed_costs(problem, menus)
    names = [budget.cost for budget in problem.budgets]
    limits = np.array([problem.limits[n] for n in names], np.int64) - fixed
    store, layers = problem.store, problem.network.layers
    for _ in range(_ROUNDS):
        made = SeparableAllocation(
            _costs(problem, menus, names), limits, losses or (lambda: problem.losses(menus)),
            problem.settings.min_utilisation,
        )  # fmt: skip
        if not made.possible:
            raise out_of_reach(problem, made.cheapest + fixed)
        if not store.estimated_layers:
            break
        chosen = [menu[i] for menu, i in zip(menus, made.plan, strict=True)]
        if not store.trust(list(zip(layers, chosen, strict=True))):
            break
    return made


def _costs(problem: StatedProblem, menus: Menus, names: Sequence[str]) -> list[NDArray[np.int64]]:
    return [
        np.array(
            [[estimated_cost(problem.costs[n], layer, c) for n in names] for c in menu], np.int64
        )
        for layer, menu in zip(problem.network.layers, menus, strict=True)
    ]
