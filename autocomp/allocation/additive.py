"""The additive model of a plan: each layer's choice has whole-number costs and a loss; both add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autocomp.errors import AutocompError, BudgetError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class AdditiveModel:
    """Minimise sum_t loss_t(i_t) subject to sum_t cost_t(i_t) <= limits, one choice i_t a layer.

    A multiple-choice knapsack. `DynamicProgram` solves it for one budget, `IntegerProgram` for any
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
        sizes = [len(x) for x in self.losses]
        self._layer = np.repeat(np.arange(len(sizes)), sizes)
        self._start = np.cumsum([0, *sizes])[:-1]
        self._flat_costs = np.concatenate(self.costs)
        self._flat_losses = np.concatenate(self.losses)

    def __len__(self) -> int:
        return len(self.costs)

    def estimate(self, indices: Ints) -> Floats:
        """Returns the summed loss of many plans, `(n_plans, n_layers)` -> `(n_plans,)`."""
        summed: Floats = self._flat_losses[self._start + np.asarray(indices, np.int64)].sum(1)
        return summed

    def loss(self, indices: Sequence[int]) -> float:
        """Returns the summed loss of one plan."""
        return float(self.estimate(np.array([indices]))[0])

    def total(self, indices: Sequence[int]) -> Ints:
        """Returns the cost vector of one plan."""
        summed: Ints = self._flat_costs[self._start + np.asarray(indices, np.int64)].sum(0)
        return summed

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether one plan meets every budget."""
        return bool((self.total(indices) <= self.limits).all())

    def reweighted(self, multipliers: Floats) -> AdditiveModel:
        """Returns the model with each layer's losses times its multiplier (arXiv:2201.13096)."""
        scaled = [m * x for m, x in zip(multipliers.tolist(), self.losses, strict=True)]
        return AdditiveModel(self.costs, scaled, self.limits)

    def rest(self, step: int, left: Ints, multiplier: float = 1.0) -> AdditiveModel:
        """Returns the model of layers `step`, ... within `left`, the first one's losses scaled."""
        losses = [multiplier * self.losses[step], *self.losses[step + 1 :]]
        return AdditiveModel(self.costs[step:], losses, left)

    def options(self, step: int) -> Ints:
        """Returns the choices of a layer that no other undercuts, the cheapest first.

        A choice is left out if another costs no more in every budget and loses no more; of equal
        ones the first is kept. Some optimal plan takes none of those that are left out.
        """
        return undercut_by_none(self.costs[step], self.losses[step])

    def refill(self, indices: Sequence[int]) -> list[int]:
        """Spends what is left of the budgets: the change of largest loss reduction per cost first.

        Changes one layer at a time, to any choice that fits and lowers the loss, until none does.
        The cost of several budgets is the sum of their shares. Never raises the loss.
        """
        indices = list(indices)
        at = self._start + np.asarray(indices, np.int64)
        left = self.limits - self._flat_costs[at].sum(0)
        shares = 1 / np.maximum(self.limits, 1)
        while True:
            gain = self._flat_losses[at][self._layer] - self._flat_losses
            extra = self._flat_costs - self._flat_costs[at][self._layer]
            possible = (gain > 0) & (extra <= left).all(1)
            if not possible.any():
                return indices
            price = np.maximum((extra * shares).sum(1), 1e-12)
            chosen = int(np.where(possible, gain / price, -1.0).argmax())
            layer = int(self._layer[chosen])
            left = left - extra[chosen]
            at[layer] = chosen
            indices[layer] = chosen - int(self._start[layer])

    def _check(self) -> None:
        if not self.costs or len(self.costs) != len(self.losses):
            raise AutocompError(
                f"An additive model needs costs and losses of the same layers, but got "
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


def summed_loss(losses: Sequence[Floats], indices: Sequence[int]) -> float:
    """Returns the summed loss of one plan, from each layer's losses."""
    return float(sum(x[i] for x, i in zip(losses, indices, strict=True)))


def undercut_by_none(costs: Ints, losses: Floats) -> Ints:
    """Returns the choices that no other undercuts in cost and loss, the cheapest first.

    Args:
        costs: `(n_choices, n_budgets)`.
        losses: `(n_choices,)`.
    """
    keys = (np.arange(len(losses)), losses, *costs.T[::-1])
    order = np.lexsort(keys)
    if costs.shape[1] == 1:
        least = np.minimum.accumulate(losses[order])
        kept: Ints = order[np.r_[True, losses[order][1:] < least[:-1]]]
        return kept
    c, x = costs[order], losses[order]
    below = (c[:, None] <= c[None]).all(2) & (x[:, None] <= x[None])  # [i, j]: i undercuts j
    equal = below & below.T
    beaten = (below & ~equal).any(0) | np.triu(equal, 1).any(0)
    return np.asarray(order[~beaten])
