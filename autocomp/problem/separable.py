"""Costs and losses of plans that leave every shape alone: both add up over layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from autocomp.allocation.separable import SeparableAllocation
from autocomp.costs import estimated_cost
from autocomp.problem.limits import fixed_costs, out_of_reach
from autocomp.problem.stated import Losses, Menus, StatedProblem


def separable_allocation(
    problem: StatedProblem, menus: Menus, losses: Callable[[], Losses] | None = None
) -> SeparableAllocation:
    """Returns what can meet the budgets when layer t takes one of `menus[t]`.

    Args:
        problem: the problem; the tables of these choices are made, or read. Where they are
            estimates, the options of the best plan are made, until the best plan is one of options
            that are made; other plans are known as well as their options were estimated.
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
    store.start_over()
    while True:
        before = store.trusted
        costs = _costs(problem, menus, names)
        made = SeparableAllocation(
            costs, limits, losses or (lambda: problem.losses(menus)),
            problem.settings.min_utilisation,
        )  # fmt: skip
        if made.possible:
            wanted = made.plan if store.estimated_layers else []
        else:  # perhaps by estimates only
            wanted = [int((c / np.maximum(limits, 1)).sum(1).argmin()) for c in costs]
        if wanted:
            store.trust([(x, m[i]) for x, m, i in zip(layers, menus, wanted, strict=True)])
        if store.trusted == before:  # measuring losses may have made options, too
            break
    if not made.possible:
        raise out_of_reach(problem, made.cheapest + fixed)
    return made


def _costs(problem: StatedProblem, menus: Menus, names: Sequence[str]) -> list[NDArray[np.int64]]:
    return [
        np.array(
            [[estimated_cost(problem.costs[n], layer, c) for n in names] for c in menu], np.int64
        )
        for layer, menu in zip(problem.network.layers, menus, strict=True)
    ]
