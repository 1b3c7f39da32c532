"""A good plan where costs are coupled: a price for the budget or descent to it, then exchanges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property

import numpy as np

from autocomp.allocation.allocation import spend_rest, summed_loss
from autocomp.allocation.coupling import CoupledCosts
from autocomp.allocation.pareto import Floats, Ints, pareto_front
from autocomp.allocation.relaxation import Relaxation
from autocomp.errors import BudgetError

_ROUNDS = 200
_LESS = (0.999, 0.996, 0.99, 0.98, 0.96)
"""Shares of the budgets that are tried where a plan's real costs came out above them."""


class CoupledSolver:
    """Minimises the summed losses within the budgets, when costs depend on neighbours' widths.

    One budget gets a price, see `Relaxation`. For several it takes, from every layer's choice of
    least loss, again and again the change of one layer that loses least per share of the budgets
    that it saves, until they hold. Then it spends what is left, and pays for one layer's gain by
    another's loss, as long as that lowers the sum; for several budgets the exact solver's plan at
    the levels that this ends with comes last. The losses add, the costs do not, so this is a
    heuristic: on random problems of four layers it lies at the optimum nearly always (see the
    tests), and never outside a budget.

    Args:
        constraint: the costs and limits.
        losses: per layer, each choice's loss.
        settle: makes a plan meet what the constraint only estimates; None if it is exact.
    """

    def __init__(
        self,
        constraint: CoupledCosts,
        losses: Sequence[Floats],
        settle: Callable[[Sequence[int]], list[int]] | None = None,
    ) -> None:
        self.constraint = constraint
        self._settle = settle or list
        self.losses = [np.asarray(x, np.float64) for x in losses]

    @cached_property
    def plan(self) -> list[int]:
        """The plan found."""
        return self._settled(self.losses)

    def reweighted(self, multipliers: Floats) -> list[int]:
        """Returns the plan found with each layer's losses multiplied."""
        return self.solved([m * x for m, x in zip(multipliers, self.losses, strict=True)])

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """Returns the plan found for other losses of the same choices."""
        return self._settled(losses)

    def loss(self, indices: Sequence[int]) -> float:
        """Returns a plan's summed loss."""
        return summed_loss(self.losses, indices)

    def lowered(self, indices: Sequence[int], limits: Ints) -> list[int]:
        """Returns a plan lowered until its costs are within `limits`, as far as possible.

        What a large step has saved too much is spent again.
        """
        found = _descended(self.constraint, self.losses, list(indices), limits)
        if found is None:
            return _walked(self.constraint, self.losses)
        return _refilled(self.constraint.under(limits), self.losses, found)

    def _settled(self, losses: Sequence[Floats]) -> list[int]:
        first = self._solve(self.constraint, losses)
        best = self._settle(first)
        if best == first:
            return best
        for share in _LESS:  # a plan for a little less wastes less than one that was lowered
            less = self.constraint.under(_scaled(self.constraint, share))
            with suppress(BudgetError):  # several budgets that only just hold together
                other = self._solve(less, losses)
                if self._settle(other) == other:
                    return min(best, other, key=lambda indices: summed_loss(losses, indices))
        return best

    def _solve(self, constraint: CoupledCosts, losses: Sequence[Floats]) -> list[int]:
        relaxation = Relaxation(constraint, losses)
        indices = relaxation.plan() if len(constraint.limits) == 1 else None
        if indices is None:
            start = [int(x.argmin()) for x in losses]
            indices = _descended(constraint, losses, start, constraint.limits)
        if indices is None:
            indices = _walked(constraint, losses)
        indices = _exchanged(constraint, losses, _refilled(constraint, losses, indices))
        if not constraint.meets(indices):
            raise BudgetError("No plan was found that meets the budgets; raise one.")
        if len(constraint.limits) > 1:
            inside = relaxation.at(relaxation.levels(indices))
            if inside is not None and summed_loss(losses, inside) < summed_loss(losses, indices):
                return inside
        return indices


def _descended(
    constraint: CoupledCosts, losses: Sequence[Floats], indices: list[int], limits: Ints
) -> list[int] | None:
    """Takes the changes of least loss per saving until the limits hold; None if none do."""
    indices = list(indices)
    scale = np.maximum(limits, 1)
    while True:
        spent = constraint.total(indices)
        over = spent > limits
        if not over.any():
            return indices
        excess = (np.maximum(spent - limits, 0) / scale).sum()
        best: tuple[float, int, int] | None = None
        for t, here in enumerate(indices):
            costs = constraint.alternatives(indices, t)
            saved = ((spent - costs) / scale)[:, over].sum(1)
            # what goes back and forth between two budgets would never end
            saves = (np.maximum(costs - limits, 0) / scale).sum(1) < excess - 1e-12
            if saves.any():
                lost = losses[t] - losses[t][here]
                # what costs nothing first, and of that the largest saving
                price = np.where(saves, np.maximum(lost, 0) / np.maximum(saved, 1e-15), np.inf)
                price = np.where(saves & (lost <= 0), -saved, price)
                i = int(price.argmin())
                if best is None or price[i] < best[0]:
                    best = (float(price[i]), t, i)
        if best is None:
            return None
        indices[best[1]] = best[2]


def _walked(constraint: CoupledCosts, losses: Sequence[Floats]) -> list[int]:
    """Returns a feasible plan, front to back: the least loss that a completion allows."""
    indices: list[int] = []
    for x in losses:
        mask = constraint.mask(indices, enforce_utilisation=False)
        indices.append(int(np.where(mask, x, np.inf).argmin()))
    return indices


def _refilled(constraint: CoupledCosts, losses: Sequence[Floats], indices: list[int]) -> list[int]:
    return spend_rest(constraint, losses, constraint.limits, indices)


def _exchanged(constraint: CoupledCosts, losses: Sequence[Floats], indices: list[int]) -> list[int]:
    best, best_loss = indices, summed_loss(losses, indices)
    for _ in range(_ROUNDS):
        improved = _exchange(constraint, losses, best, best_loss)
        if improved is None:
            return best
        best = _refilled(constraint, losses, improved)
        best_loss = summed_loss(losses, best)
    return best


def _exchange(
    constraint: CoupledCosts, losses: Sequence[Floats], indices: list[int], loss: float
) -> list[int] | None:
    """Returns a better plan in which one layer gains and another pays; None if none does."""
    n = len(indices)
    costs: list[Ints] = [constraint.alternatives(indices, t) for t in range(n)]
    spent = constraint.total(indices)
    left = constraint.limits - spent
    moves = []
    for t, here in enumerate(indices):
        for i in _useful(costs[t], losses[t]):
            gain = losses[t][here] - losses[t][i]
            if gain > 1e-15 and not (costs[t][i] - spent <= left).all():
                moves.append((float(gain), t, i))
    moves.sort(reverse=True)
    for gain, t, i in moves[: 4 * n]:
        raised = [*indices]
        raised[t] = i
        paid: tuple[float, int, int] | None = None
        for other in range(n):
            if other == t:
                continue
            lost = losses[other] - losses[other][indices[other]]
            fits = (constraint.alternatives(raised, other) <= constraint.limits).all(1)
            fits &= lost < gain - 1e-12
            if fits.any():
                k = int(np.where(fits, lost, np.inf).argmin())
                if paid is None or lost[k] < paid[0]:
                    paid = (float(lost[k]), other, k)
        if paid is not None:
            raised[paid[1]] = paid[2]
            if summed_loss(losses, raised) < loss - 1e-15:
                return raised
    return None


def _scaled(constraint: CoupledCosts, share: float) -> Ints:
    """Returns limits that leave a share of what lies between the cheapest plan and the limits."""
    low = np.minimum(constraint.cheapest, constraint.limits)
    scaled: Ints = low + np.floor(share * (constraint.limits - low)).astype(np.int64)
    return scaled


def _useful(costs: Ints, losses: Floats) -> list[int]:
    """Returns the choices that no cheaper one beats, a few dozen at most."""
    kept = pareto_front(costs.sum(1), losses)
    step = max(1, len(kept) // 32)
    return [int(i) for i in kept[::step]]
