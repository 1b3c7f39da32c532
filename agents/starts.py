"""Plans to begin with: the same choice everywhere, and plans around it."""

from __future__ import annotations

import numpy as np
from autocomp.envs.menu import Floats, PlanMenu

WARM_SIGMA = 0.35
"""Spread of warm-up actions around a uniform plan; the action interval is 2 wide."""


def uniform_plans(menu: PlanMenu) -> list[list[int]]:
    """Returns every feasible plan with one choice for all layers, the dearest first.

    A layer that cannot take the choice takes the nearest one on its menu. Each is given as choice
    indices; plans that coincide are listed once.
    """
    widest = max(range(len(menu)), key=lambda t: len(menu.choices[t]))
    plans: dict[tuple[int, ...], float] = {}
    limits = np.maximum(menu.feasibility.limits, 1)
    for wanted in menu.coordinates(widest):
        indices = tuple(
            int(((menu.coordinates(t) - wanted) ** 2).sum(1).argmin()) for t in range(len(menu))
        )
        if menu.feasibility.meets(indices):
            plans[indices] = float((menu.feasibility.total(indices) / limits).max())
    ordered = sorted(plans, key=lambda p: (-plans[p], p))
    return [list(indices) for indices in ordered]


def starting_plans(menu: PlanMenu, n: int) -> list[list[int]]:
    """Returns up to `n` plans: uniform choices that nearly spend the budget, then filled up.

    They differ in how they spend it (many bits and few weights, or the other way round). Where no
    uniform choice is feasible, the plan that spreads the budget evenly is returned.
    """
    chosen: dict[tuple[int, ...], None] = {}
    for indices in uniform_plans(menu):
        chosen.setdefault(tuple(menu.fill(indices)))
        if len(chosen) >= n:
            break
    if len(chosen) < n:
        chosen.setdefault(tuple(menu.fit(menu.middle)))
    return [list(indices) for indices in chosen]


def actions_of(menu: PlanMenu, indices: list[int]) -> Floats:
    """Returns the plan's actions, `(n_layers, width)`, normalised to [-1, 1]."""
    return np.array([menu.coordinates(t)[i] for t, i in enumerate(indices)])


def around(menu: PlanMenu, indices: list[int], rng: np.random.Generator) -> list[int]:
    """Returns a feasible plan at a random distance from another one."""
    noise = rng.normal(0, WARM_SIGMA, (len(menu), menu.vector.width))
    return menu.fit(actions_of(menu, indices) + noise)
