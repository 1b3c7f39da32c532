"""Plans to begin with: what the search was given, the solver's own, and uniform ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces.feasible_space import PlanMenu

from autocomp.core.plan import Plan
from autocomp.errors import AgentError, SpaceError


def given_plans(menu: PlanMenu, starts: Sequence[Plan]) -> list[list[int]]:
    """Returns the plans that a search was given to start from, as choice indices.

    Raises:
        AgentError: if one takes other choices than the space's, or exceeds a budget.
    """
    plans = []
    for plan in starts:
        names = [layer.name for layer in menu.layers]
        if sorted(plan) != sorted(names):
            raise AgentError(
                f"A start must have the layers {names}, but got {list(plan)}; give a plan of "
                "this network."
            )
        try:
            indices = menu.indices(plan)
        except SpaceError:
            raise AgentError(
                f"A start must take its choices from the search space, but got {plan}; leave it "
                "out, or search a space that has them."
            ) from None
        spent = menu.feasibility.total(indices)
        if not menu.meets(indices):
            raise AgentError(
                f"A start must meet every budget, but costs {spent.tolist()} "
                f"of {menu.feasibility.limits.tolist()}; leave it out, or raise the budget."
            )
        plans.append(indices)
    return plans


def uniform_plans(menu: PlanMenu) -> list[list[int]]:
    """Returns every feasible plan with one choice for all layers, the least estimated loss first.

    A layer that cannot take the choice takes the nearest one on its menu. Each is given as choice
    indices; plans that coincide are listed once.
    """
    widest = max(range(len(menu)), key=lambda t: len(menu.choices[t]))
    plans: dict[tuple[int, ...], float] = {}
    for wanted in menu.coordinates(widest):
        indices = tuple(
            int(((menu.coordinates(t) - wanted) ** 2).sum(1).argmin()) for t in range(len(menu))
        )
        if menu.meets(indices):
            plans[indices] = float(menu.estimate(np.array([indices]))[0])
    return [list(indices) for indices in sorted(plans, key=lambda p: (plans[p], p))]


def starting_plans(menu: PlanMenu, n: int) -> list[list[int]]:
    """Returns up to `n` plans: the solver's, then uniform ones of least estimated loss, filled up.

    Where fewer uniform choices are feasible, the plan that spreads the budget evenly is added.
    """
    chosen: dict[tuple[int, ...], None] = {tuple(menu.solver.plan): None}
    for indices in uniform_plans(menu):
        if len(chosen) >= n:
            break
        chosen.setdefault(tuple(menu.fill(indices)))
    if len(chosen) < n:
        chosen.setdefault(tuple(menu.even()))
    return [list(indices) for indices in chosen]
