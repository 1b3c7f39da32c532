"""The exact solver for any number of budgets: an integer program, solved by HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.pareto import Floats, Ints
from autocomp.errors import BudgetError

QUICK_GAP = 1e-4
"""Relative gap where a plan is decoded from multipliers, many times a search."""
_TRIES = 20
_SPREAD = 1e4
"""The losses' largest difference as HiGHS sees them, so that its absolute gap of 1e-6 is little."""


class IntegerProgram:
    """min sum loss_t(i) x_ti, one x_ti = 1 a layer, costs within every limit, x binary.

    Branch and bound by `scipy.optimize.milp` (HiGHS, Huangfu and Hall 2018) with a gap of 0. HiGHS
    works in floating point, so the rounded result is checked in integers; where it exceeds a limit
    by rounding, it is solved again with that limit lowered by the excess.

    Args:
        model: losses, and costs in any number of budgets.
    """

    def __init__(self, model: Knapsack) -> None:
        self.model = model
        self._tails: dict[tuple[int, bytes], list[int]] = {}

    @cached_property
    def plan(self) -> list[int]:
        """The plan of least loss, as choice indices; walking with multipliers 1 gives it, too."""
        plan = self.model.refill(solve(self.model))
        self._remember(0, np.zeros_like(self.model.limits), plan)
        return plan

    def choose(self, step: int, used: Ints, multiplier: float = 1.0) -> int:
        """Returns the choice of `step` in the best completion, its own losses multiplied.

        The same as argmin_i multiplier * loss_step(i) + V_{step+1}(what is left) of
        `DynamicProgram`, without its tables: one integer program a step, none along the plan.
        """
        if step == 0:
            self.plan  # noqa: B018  # remembered before the first step
        known = self._tails.get((step, used.tobytes()))
        if multiplier == 1.0 and known is not None:
            return known[0]
        rest = self.model.rest(step, self.model.limits - used, multiplier)
        tail = rest.refill(solve(rest, 0.0 if multiplier == 1.0 else QUICK_GAP))
        self._remember(step + 1, used + self.model.costs[step][tail[0]], tail[1:])
        return tail[0]

    def interval(self, step: int, used: Ints, index: int) -> tuple[float, float] | None:
        """Returns (1, 1) where neutral choices give `index`, else None: there are no tables."""
        known = self._tails.get((step, used.tobytes()))
        return (1.0, 1.0) if known is not None and known[0] == index else None

    def reweighted(self, multipliers: Floats) -> list[int]:
        """Returns the plan of least sum_t multiplier_t * loss_t, refilled by the same losses."""
        if np.ptp(multipliers) == 0:  # a common factor changes nothing
            return list(self.plan)
        return self.solved(self.model.reweighted(multipliers).losses)

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """Returns the plan of least summed loss for other losses of the same choices."""
        model = self.model.with_losses(losses)
        return model.refill(solve(model, QUICK_GAP))

    def _remember(self, step: int, used: Ints, tail: list[int]) -> None:
        for t, index in enumerate(tail, step):
            # what is known stays, so that multiplier 1 keeps its meaning during a search
            self._tails.setdefault((t, used.tobytes()), tail[t - step :])
            used = used + self.model.costs[t][index]


def solve(model: Knapsack, gap: float = 0.0) -> list[int]:
    """Returns a plan of least loss within every budget.

    Args:
        model: losses and costs.
        gap: how far from the optimum the loss may be, relatively.

    Raises:
        BudgetError: if no plan meets all budgets together.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    options = [model.options(t) for t in range(len(model))]
    layers = np.repeat(np.arange(len(model)), [len(o) for o in options])
    losses = np.concatenate([x[o] for x, o in zip(model.losses, options, strict=True)])
    costs = np.concatenate([c[o] for c, o in zip(model.costs, options, strict=True)])
    n = len(layers)
    one_each = csr_array((np.ones(n), (layers, np.arange(n))), shape=(len(model), n))
    objective = losses - losses.min()  # one choice a layer: a common offset changes nothing
    if objective.any():
        objective = objective / objective.max() * _SPREAD
    units = np.maximum(model.limits, 1)  # rows of the same size, whatever their units
    limits = model.limits.copy()
    for _ in range(_TRIES):
        found = milp(
            objective,
            integrality=np.ones(n),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint((costs / units).T, -np.inf, limits / units),
            ],
            options={"mip_rel_gap": gap},
        )
        if found.x is None:
            break
        taken = [options[t][found.x[layers == t].argmax()] for t in range(len(model))]
        indices = [int(i) for i in taken]
        excess = model.total(indices) - model.limits
        if (excess <= 0).all():
            return indices
        limits -= np.maximum(excess, 0)
    raise BudgetError(
        f"The limits {model.limits.tolist()} must hold together, but no plan was found to meet "
        "all of them; raise one."
    )
