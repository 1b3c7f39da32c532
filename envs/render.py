"""An episode as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces import FeasibleSpace

from autocomp.errors import AgentError, unknown

MODES = ("ansi",)
METADATA = {"render_modes": list(MODES), "render_fps": 1}


def check_mode(mode: str | None) -> str | None:
    """Returns the render mode; AgentError for one that there is not."""
    if mode is not None and mode not in MODES:
        raise AgentError(unknown("render mode", mode, MODES))
    return mode


def plan_text(feasible: FeasibleSpace, indices: Sequence[int]) -> str:
    """Returns a line per layer that is decided, and what the budgets have spent.

    Args:
        feasible: the problem's feasible space.
        indices: the choices of the first layers, or of all.
    """
    decided = zip(feasible.layers, feasible.choices, indices, strict=False)
    lines = [f"{layer.name}: {menu[i]}" for layer, menu, i in decided]
    allocation = feasible.allocation
    spent = allocation.spent(indices) / np.maximum(allocation.limits, 1)
    names = [budget.cost for budget in feasible.problem.budgets]
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, spent, strict=True))
    return "\n".join(
        [*lines, f"{len(lines)} of {len(feasible)} layers; of the layers' budget: {shares}"]
    )
