"""A search space under a problem's budgets: any action becomes a feasible plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from autocomp.search_spaces.base import Action, ActionMap, SearchSpace, as_action, normalise
from autocomp.search_spaces.named_actions import NamedActions
from autocomp.search_spaces.vector import VectorSpace

from autocomp.allocation.allocation import Allocation, Mask
from autocomp.allocation.pareto import Floats, Ints
from autocomp.core.budget import Budget
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.errors import SpaceError
from autocomp.problem.problem import CompressionProblem


class FeasibleSpace:
    """The finite choices of every layer, their costs, and what actions mean within the budgets.

    A plan is one choice index a layer here. `allocation` says what fits and what is best; `names`
    finds the plan that entries of choices are nearest to; `actions` is what an agent's actions
    mean, which is `names` unless the space says otherwise.

    Attributes:
        problem: the problem.
        space: the action space.
        layers: the layers, in forward order.
        choices: per layer, its choices.
        allocation: costs, losses and limits of these choices.
        vector: the same space as one vector for the network.
        names: choices by their names.
        actions: what actions mean.
    """

    def __init__(
        self,
        problem: CompressionProblem,
        space: SearchSpace,
        layers: Sequence[LayerSpec],
        choices: Sequence[tuple[Choice, ...]],
        allocation: Allocation,
    ) -> None:
        """Takes the parts; `build` makes them."""
        self.problem, self.space, self.allocation = problem, space, allocation
        self.layers, self.choices = tuple(layers), list(choices)
        self.vector = VectorSpace(space, self.layers)
        self.names = NamedActions(space.names, self.layers, self.choices, allocation)
        mapped = space.action_map(self.layers, allocation)
        self.actions: ActionMap = self.names if mapped is None else mapped
        self._places = [{c: i for i, c in enumerate(menu)} for menu in self.choices]

    @classmethod
    def build(cls, problem: CompressionProblem, space: SearchSpace) -> FeasibleSpace:
        """Returns the space under the problem's budgets.

        Raises:
            BudgetError: if no plan of the space meets the budgets.
            SpaceError: if the space offers no choice for a layer.
        """
        layers = problem.layers(space.structural)
        choices = [tuple(dict.fromkeys(space.choices(layer))) for layer in layers]
        for layer, menu in zip(layers, choices, strict=True):
            if not menu:
                raise SpaceError(f"The space must offer a choice for {layer.name!r}, but has none.")
        return cls._under(problem, space, layers, choices)

    @classmethod
    def _under(
        cls,
        problem: CompressionProblem,
        space: SearchSpace,
        layers: Sequence[LayerSpec],
        choices: Sequence[tuple[Choice, ...]],
        losses: Callable[[], list[Floats]] | None = None,
    ) -> FeasibleSpace:
        allocation = problem.allocation(choices, space.structural, losses)
        return cls(problem, space, layers, choices, allocation)

    def __len__(self) -> int:
        return len(self.layers)

    def under(self, budgets: Iterable[str | Budget]) -> FeasibleSpace:
        """Returns this space under other budgets; losses are measured once for both.

        Raises:
            BudgetError: if no plan of the space meets them.
        """
        losses = self.allocation.losses
        problem = self.problem.under(budgets)
        return self._under(problem, self.space, self.layers, self.choices, lambda: losses)

    def through(self, space: SearchSpace) -> FeasibleSpace:
        """Returns the same choices, costs and losses with another space's actions."""
        return FeasibleSpace(self.problem, space, self.layers, self.choices, self.allocation)

    @property
    def losses(self) -> list[Floats]:
        """Per layer, the estimated loss (F0, in nats) that each choice adds; measured once."""
        return self.allocation.losses

    @property
    def middle(self) -> Floats:
        """The entries in the middle of every action."""
        return np.zeros((len(self), self.vector.width))

    def normalise(self, action: Action) -> Floats:
        """Returns one layer's action as entries in [-1, 1], also that of a discrete space."""
        return normalise(self.space.action_space, action)

    def action(self, entries: Floats) -> Action:
        """Returns one layer's action whose entries, in [-1, 1], are nearest."""
        return as_action(self.space.action_space, entries)

    def index(self, step: int, choice: Choice) -> int:
        """Returns the choice's place among layer `step`'s; SpaceError if it has none."""
        try:
            return self._places[step][choice]
        except KeyError:
            raise SpaceError(
                f"The space must decode to one of its choices, but gave {choice} for "
                f"{self.layers[step].name!r}; list it in choices()."
            ) from None

    def plan(self, indices: Sequence[int]) -> Plan:
        """Returns the plan that takes choice `indices[t]` in layer t."""
        return Plan(
            {x.name: menu[i] for x, menu, i in zip(self.layers, self.choices, indices, strict=True)}
        )

    def indices(self, plan: Plan) -> list[int]:
        """Returns the choice indices of `plan`; SpaceError if the space lacks a choice."""
        return [self.index(t, plan[layer.name]) for t, layer in enumerate(self.layers)]

    def coordinates(self, step: int) -> Floats:
        """Returns `(n_choices, width)`: the entries in [-1, 1] that name each choice of a layer."""
        return self.names.coordinates(step)

    def estimate(self, plans: Ints) -> Floats:
        """Returns F0, the summed estimated loss, of many plans: `(n, n_layers)` -> `(n,)`."""
        return self.allocation.estimate(plans)

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the plan meets every budget, in real costs."""
        return self.allocation.is_settled(indices)

    def mask(self, prefix: Sequence[int], enforce_utilisation: bool = True) -> Mask:
        """Returns which choices of the next layer leave a completion that meets every budget."""
        return self.allocation.mask(prefix, enforce_utilisation)
