"""A multiple-choice knapsack: each layer's choice has whole-number costs and a loss; both add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocomp.allocation.allocation import spend_rest, summed_loss
from autocomp.allocation.pareto import Floats, Ints, pareto_front
from autocomp.errors import AutocompError, BudgetError


class Knapsack:
    """Minimise sum_t loss_t(i_t) subject to sum_t cost_t(i_t) <= limits, one choice i_t a layer.

    `DynamicProgram` solves it for one budget, `IntegerProgram` for any
    number; both keep costs as true integers, so what they return meets every budget exactly.

    Attributes:
        costs: per layer, int64 `(n_choices, n_budgets)`, not negative.
        losses: per layer, float64 `(n_choices,)`, finite.
        limits: int64 `(n_budgets,)`: what all layers together may cost.

    Raises:
        AutocompError: if shapes do not match, a cost is negative, or a loss is not finite.
        BudgetError: if the cheapest choices exceed a limit.
    """

    def __init__(
        self, costs: Sequence[Ints], losses: Sequence[Floats], limits: Ints | Sequence[int]
    ) -> None:
        self.limits = np.asarray(limits, np.int64).reshape(-1)
        self.costs = [np.asarray(c, np.int64) for c in costs]
        self.losses = [np.asarray(x, np.float64) for x in losses]
        self._check()

    def __len__(self) -> int:
        return len(self.costs)

    def loss(self, indices: Sequence[int]) -> float:
        """Returns the summed loss of one plan."""
        return summed_loss(self.losses, indices)

    def total(self, indices: Sequence[int]) -> Ints:
        """Returns the cost vector of one plan."""
        summed: Ints = np.sum([c[i] for c, i in zip(self.costs, indices, strict=True)], axis=0)
        return summed

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether one plan meets every budget."""
        return bool((self.total(indices) <= self.limits).all())

    def reweighted(self, multipliers: Floats) -> Knapsack:
        """Returns the model with each layer's losses times its multiplier (arXiv:2201.13096)."""
        scaled = [m * x for m, x in zip(multipliers.tolist(), self.losses, strict=True)]
        return self.with_losses(scaled)

    def with_losses(self, losses: Sequence[Floats]) -> Knapsack:
        """Returns the model with other losses of the same choices."""
        return Knapsack(self.costs, losses, self.limits)

    def rest(self, step: int, left: Ints, multiplier: float = 1.0) -> Knapsack:
        """Returns the model of layers `step`, ... within `left`, the first one's losses scaled."""
        losses = [multiplier * self.losses[step], *self.losses[step + 1 :]]
        return Knapsack(self.costs[step:], losses, left)

    def options(self, step: int) -> Ints:
        """Returns the choices of a layer that no other undercuts, the cheapest first.

        A choice is left out if another costs no more in every budget and loses no more; of equal
        ones the first is kept. Some optimal plan takes none of those that are left out.
        """
        return pareto_front(*self.costs[step].T, self.losses[step])

    def alternatives(self, indices: Sequence[int], step: int) -> Ints:
        """Returns `(n_choices, n_budgets)`: the plan's cost if layer `step` took each choice."""
        costs = self.costs[step]
        changed: Ints = self.total(indices) - costs[indices[step]] + costs
        return changed

    def refill(self, indices: Sequence[int]) -> list[int]:
        """Spends what is left of the budgets, see `spend_rest`."""
        return spend_rest(self, self.losses, self.limits, indices)

    def _check(self) -> None:
        if not self.costs or len(self.costs) != len(self.losses):
            raise AutocompError(
                f"A knapsack needs costs and losses of the same layers, but got "
                f"{len(self.costs)} and {len(self.losses)}; list at least one layer in both."
            )
        for t, (costs, losses) in enumerate(zip(self.costs, self.losses, strict=True)):
            if costs.shape != (losses.size, self.limits.size) or not losses.size:
                raise AutocompError(
                    f"Layer {t} must have a cost per choice and budget, but got shapes "
                    f"{costs.shape} and {losses.shape} for {self.limits.size} budgets."
                )
            if (costs < 0).any() or not np.isfinite(losses).all():
                raise AutocompError(
                    f"Layer {t} must have costs >= 0 and finite losses, but the least cost is "
                    f"{costs.min()} and the losses reach {losses.max()}; check what measured them."
                )
        least: Ints = np.sum([c.min(0) for c in self.costs], axis=0)
        if (least > self.limits).any():
            raise BudgetError(
                f"The limits must be within reach, but the cheapest choices cost {least.tolist()} "
                f"and the limits are {self.limits.tolist()}; raise them."
            )
