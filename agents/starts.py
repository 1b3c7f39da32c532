"""Plans to begin with: what the search was given, the solver's own, and uniform ones."""

from __future__ import annotations

import numpy as np
from autocomp.agents.task import SearchTask
from autocomp.search_spaces.feasible_space import FeasibleSpace

from autocomp.errors import AgentError, SpaceError


def given_plans(task: SearchTask) -> list[list[int]]:
    """Returns the plans that a search was given to start from, as choice indices.

    Raises:
        AgentError: if one takes other choices than the space's, or exceeds a budget.
    """
    feasible = task.feasible
    plans = []
    for plan in task.starts:
        names = [layer.name for layer in feasible.layers]
        if sorted(plan) != sorted(names):
            raise AgentError(
                f"A start must have the layers {names}, but got {list(plan)}; give a plan of "
                "this network."
            )
        try:
            indices = feasible.indices(plan)
        except SpaceError:
            raise AgentError(
                f"A start must take its choices from the search space, but got {plan}; leave it "
                "out, or search a space that has them."
            ) from None
        spent = feasible.allocation.total(indices)
        if not feasible.meets(indices):
            raise AgentError(
                f"A start must meet every budget, but costs {spent.tolist()} "
                f"of {feasible.allocation.limits.tolist()}; leave it out, or raise the budget."
            )
        plans.append(indices)
    return plans


def uniform_plans(feasible: FeasibleSpace) -> list[list[int]]:
    """Returns every feasible plan with one choice for all layers, the least estimated loss first.

    A layer that cannot take the choice takes the nearest one on its menu. Each is given as choice
    indices; plans that coincide are listed once.
    """
    widest = max(range(len(feasible)), key=lambda t: len(feasible.choices[t]))
    plans: dict[tuple[int, ...], float] = {}
    for wanted in feasible.coordinates(widest):
        indices = tuple(
            int(((feasible.coordinates(t) - wanted) ** 2).sum(1).argmin())
            for t in range(len(feasible))
        )
        if feasible.meets(indices):
            plans[indices] = float(feasible.estimate(np.array([indices]))[0])
    return [list(indices) for indices in sorted(plans, key=lambda p: (plans[p], p))]


def starting_plans(feasible: FeasibleSpace, n: int) -> list[list[int]]:
    """Returns up to `n` plans: the solver's, then uniform ones of least estimated loss, filled up.

    Where fewer uniform choices are feasible, the plan that spreads the budget evenly is added.
    """
    chosen: dict[tuple[int, ...], None] = {tuple(feasible.allocation.plan): None}
    for indices in uniform_plans(feasible):
        if len(chosen) >= n:
            break
        chosen.setdefault(tuple(feasible.names.fill(indices)))
    if len(chosen) < n:
        chosen.setdefault(tuple(feasible.names.even()))
    return [list(indices) for indices in chosen]
