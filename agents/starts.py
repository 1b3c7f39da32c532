"""Plans to begin with: the least weight error, the same choice everywhere, and plans around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.envs.menu import Floats, PlanMenu

WARM_SIGMA = 0.35
"""Spread of warm-up actions around a uniform plan; the action interval is 2 wide."""


def uniform_plans(menu: PlanMenu) -> list[list[int]]:
    """Returns every feasible plan with one choice for all layers, the least weight error first.

    A layer that cannot take the choice takes the nearest one on its menu. Each is given as choice
    indices; plans that coincide are listed once.
    """
    widest = max(range(len(menu)), key=lambda t: len(menu.choices[t]))
    plans: dict[tuple[int, ...], float] = {}
    for wanted in menu.coordinates(widest):
        indices = tuple(
            int(((menu.coordinates(t) - wanted) ** 2).sum(1).argmin()) for t in range(len(menu))
        )
        if menu.feasibility.meets(indices):
            plans[indices] = weight_error(menu, indices)
    return [list(indices) for indices in sorted(plans, key=lambda p: (plans[p], p))]


def starting_plans(menu: PlanMenu, n: int) -> list[list[int]]:
    """Returns up to `n` plans: of least weight error, then uniform ones of least error, filled up.

    Where fewer uniform choices are feasible, the plan that spreads the budget evenly is added.
    """
    chosen: dict[tuple[int, ...], None] = {tuple(least_error_plan(menu)): None}
    for indices in uniform_plans(menu):
        chosen.setdefault(tuple(menu.fill(indices)))
        if len(chosen) >= n:
            break
    if len(chosen) < n:
        chosen.setdefault(tuple(menu.fit(menu.middle)))
    return [list(indices) for indices in chosen]


def least_error_plan(menu: PlanMenu) -> list[int]:
    """Returns a plan of nearly the least summed weight error within the budgets.

    Lagrangian relaxation: each layer takes the choice with the least error + price * cost, the
    lowest price that meets the budgets is found by bisection, and what is left is filled up. The
    cost of several budgets is the sum of their shares.
    """
    limits = np.maximum(menu.feasibility.limits, 1)
    costs = [(c / limits).sum(1) for c in menu.feasibility.costs]
    error = menu.problem.store.error
    errors = [
        np.array([error(layer, choice) for choice in menu.choices[t]])
        for t, layer in enumerate(menu.layers)
    ]

    def at(price: float) -> list[int]:
        return [int((e + price * c).argmin()) for e, c in zip(errors, costs, strict=True)]

    low, high = -9.0, 9.0  # decimal logarithm of the price
    if not menu.feasibility.meets(at(10**high)):
        return menu.fit(menu.middle)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if menu.feasibility.meets(at(10**middle)) else (middle, high)
    return menu.fill(at(10**high))


def weight_error(menu: PlanMenu, indices: Sequence[int]) -> float:
    """Returns the sum over layers of the relative squared weight error: a free first guess."""
    errors = menu.problem.store.error
    return sum(
        errors(layer, menu.choices[t][i])
        for t, (layer, i) in enumerate(zip(menu.layers, indices, strict=True))
    )


def actions_of(menu: PlanMenu, indices: list[int]) -> Floats:
    """Returns the plan's actions, `(n_layers, width)`, normalised to [-1, 1]."""
    return np.array([menu.coordinates(t)[i] for t, i in enumerate(indices)])


def around(menu: PlanMenu, indices: list[int], rng: np.random.Generator) -> list[int]:
    """Returns a feasible plan at a random distance from another one."""
    noise = rng.normal(0, WARM_SIGMA, (len(menu), menu.vector.width))
    return menu.fit(actions_of(menu, indices) + noise)
