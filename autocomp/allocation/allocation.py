"""The contract: what fits every budget, and what is best; a plan is one choice index a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autocomp.allocation.pareto import Floats, Ints

Mask = NDArray[np.bool_]


class Costs(Protocol):
    """Which plans meet the budgets, and which beginnings of plans still can.

    Attributes:
        limits: int64 `(n_budgets,)`: what all layers together may cost.
        order: the layers, the dearest first.
    """

    limits: Ints
    order: Sequence[int]

    @property
    def cheapest(self) -> Ints:
        """Least total cost in each budget, each taken alone."""
        ...

    @property
    def dearest(self) -> Ints:
        """Largest total cost in each budget."""
        ...

    @property
    def possible(self) -> bool:
        """Whether any plan is known to meet every budget."""
        ...

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """Returns which choices of the next layer leave a completion that meets every budget.

        Args:
            prefix: the choices of the layers before it.
            enforce_utilisation: leave out choices after which even the dearest completion would
                spend less than the minimum utilisation of every budget, unless nothing else fits.

        Raises:
            BudgetError: if none does; that cannot happen along choices that a mask has offered.
        """
        ...

    def spent(self, prefix: Sequence[int]) -> Ints:
        """Returns the costs of the layers that are decided."""
        ...

    def bounds(self, prefix: Sequence[int]) -> tuple[Ints, Ints]:
        """Returns the cheapest and dearest costs of the layers that are not decided."""
        ...

    def alternatives(self, indices: Sequence[int], step: int) -> Ints:
        """Returns `(n_choices, n_budgets)`: the plan's cost if layer `step` took each choice."""
        ...

    def own(self, indices: Sequence[int], step: int) -> Ints:
        """Returns `(n_choices, n_budgets)`: what layer `step` costs under each choice.

        Where its cost depends on others': what the plan costs above the layer's cheapest choice.
        """
        ...

    def total(self, indices: Sequence[int]) -> Ints:
        """Returns the cost vector of a whole plan."""
        ...

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the whole plan meets every budget."""
        ...


class Allocation(Costs, Protocol):
    """Costs, losses and limits: minimise the summed losses within every budget.

    Attributes:
        separable: whether a layer's cost depends on its own choice alone. Then `choose` and
            `interval` answer layer by layer; else they raise BudgetError.
    """

    separable: bool

    @property
    def losses(self) -> list[Floats]:
        """Per layer, float64 `(n_choices,)`: the loss of each choice; measured once."""
        ...

    @property
    def plan(self) -> list[int]:
        """The plan of least summed loss, as far as it can be found."""
        ...

    def reweighted(self, multipliers: Floats) -> list[int]:
        """Returns the best plan with each layer's losses multiplied (arXiv:2201.13096)."""
        ...

    def solved(self, losses: Sequence[Floats]) -> list[int]:
        """Returns the best plan for other losses of the same choices, as far as it is found."""
        ...

    def choose(self, prefix: Sequence[int], multiplier: float = 1.0) -> int:
        """Returns the best choice of the next layer, its losses multiplied and the later not."""
        ...

    def interval(self, prefix: Sequence[int], index: int) -> tuple[float, float] | None:
        """Returns multipliers for which `choose` gives `index`, as far as is known."""
        ...

    def integer_plan(self) -> list[int]:
        """Returns the plan of an integer program over all layers at once.

        Raises:
            BudgetError: if costs do not add up over layers.
        """
        ...

    def loss(self, indices: Sequence[int]) -> float:
        """Returns the summed loss of one plan."""
        ...

    def estimate(self, plans: Ints) -> Floats:
        """Returns the summed loss of many plans, `(n_plans, n_layers)` -> `(n_plans,)`."""
        ...

    def starts(self) -> list[list[int]]:
        """Returns the plans that a search begins with: the best one, and what rivals it."""
        ...

    def settle(self, indices: Sequence[int]) -> list[int]:
        """Returns the plan, lowered until its real costs meet what is only estimated here.

        Raises:
            BudgetError: if even the most compressed plan does not.
        """
        ...

    def is_settled(self, indices: Sequence[int]) -> bool:
        """Whether the plan's real costs meet every budget."""
        ...


def summed_loss(losses: Sequence[Floats], indices: Sequence[int]) -> float:
    """Returns the summed loss of one plan, from each layer's losses."""
    return float(sum(x[i] for x, i in zip(losses, indices, strict=True)))


def summed_losses(losses: Sequence[Floats], plans: Ints) -> Floats:
    """Returns the summed loss of many plans: `(n_plans, n_layers)` -> `(n_plans,)`."""
    chosen = np.asarray(plans, np.int64)
    total = np.zeros(len(chosen))
    for t, x in enumerate(losses):
        total += x[chosen[:, t]]
    return total


class Priced(Protocol):
    """What spending the rest of a budget asks of costs."""

    def alternatives(self, indices: Sequence[int], step: int) -> Ints:
        """See `Costs`."""
        ...

    def total(self, indices: Sequence[int]) -> Ints:
        """See `Costs`."""
        ...


def spend_rest(
    costs: Priced, losses: Sequence[Floats], limits: Ints, indices: Sequence[int]
) -> list[int]:
    """Spends what is left of the budgets: the change of largest loss reduction per cost first.

    Changes one layer at a time, to any choice that fits and lowers the loss, until none does. The
    cost of several budgets is the sum of their shares. Never raises the loss.
    """
    indices = list(indices)
    shares = 1 / np.maximum(limits, 1)
    while True:
        spent = costs.total(indices)
        best: tuple[float, int, int] | None = None
        for t, here in enumerate(indices):
            gain = losses[t][here] - losses[t]
            if not (gain > 0).any():
                continue
            extra = costs.alternatives(indices, t) - spent
            possible = (gain > 0) & (spent + extra <= limits).all(1)
            if possible.any():
                price = np.maximum((extra * shares).sum(1), 1e-12)
                value = np.where(possible, gain / price, -1.0)
                i = int(value.argmax())
                if best is None or value[i] > best[0]:
                    best = (float(value[i]), t, i)
        if best is None:
            return indices
        indices[best[1]] = best[2]
