"""A problem's layers, a space's choices and their costs: any action becomes a feasible plan."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from autocomp.search_spaces import Action, SearchSpace, VectorSpace
from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.allocation.additive import AdditiveModel
from autocomp.allocation.constraint import Constraint, SeparableConstraint
from autocomp.allocation.solver import Solver, make_solver
from autocomp.core.budget import Budget
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.errors import SpaceError
from autocomp.problem.problem import CompressionProblem

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

SPREAD = 0.35
"""Spread of actions around a known plan; the action interval is 2 wide."""


class PlanMenu:
    """The finite menu of every layer, its costs, and the projection onto the budgets.

    Attributes:
        problem: the problem.
        space: the action space.
        vector: the same space as one vector for the network.
        choices: per layer, its choices.
        feasibility: which plans, and which beginnings of plans, can meet the budgets.
        spread: factor on an agent's exploration noise, 1 where actions name choices.
    """

    spread = 1.0

    def __init__(self, problem: CompressionProblem, space: SearchSpace) -> None:
        self.problem = problem
        self.space = space
        self.layers = self._layers()
        self.vector = VectorSpace(space, self.layers)
        self.choices: list[tuple[Choice, ...]] = [
            tuple(dict.fromkeys(space.choices(layer))) for layer in self.layers
        ]
        self._index = [{c: i for i, c in enumerate(menu)} for menu in self.choices]
        for layer, menu in zip(self.layers, self.choices, strict=True):
            if not menu:
                raise SpaceError(f"The space must offer a choice for {layer.name!r}, but has none.")
        self._coordinates = [
            np.array([self.normalise(space.encode(layer, c)) for c in menu])
            for layer, menu in zip(self.layers, self.choices, strict=True)
        ]
        self.feasibility = self._feasibility()
        self._meant: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self.layers)

    def under(self, budgets: Iterable[str | Budget]) -> PlanMenu:
        """Returns this menu under other budgets; losses are measured once for both.

        Raises:
            BudgetError: if no plan of the space meets them.
        """
        self.losses  # noqa: B018
        other = copy.copy(self)
        other.problem = self.problem.under(budgets)
        for made in ("model", "solver"):
            vars(other).pop(made, None)
        other.feasibility = other._feasibility()
        other._meant = {}
        return other

    def _layers(self) -> tuple[LayerSpec, ...]:
        return self.problem.network.layers

    def _feasibility(self) -> Constraint:
        return SeparableConstraint(self.problem.feasibility(self.choices))

    @property
    def middle(self) -> Floats:
        """The action in the middle of every entry."""
        return np.zeros((len(self.layers), self.vector.width))

    def even(self) -> list[int]:
        """Returns the plan that spreads the budget evenly: the middle of every property, moved."""
        return self._moved(np.array([np.zeros_like(c[0]) for c in self._coordinates]))

    @cached_property
    def losses(self) -> list[Floats]:
        """Per layer, the estimated loss (F0, in nats) that each choice adds; measured once."""
        return self.problem.losses(self.choices)

    @cached_property
    def model(self) -> AdditiveModel:
        """The additive model: these losses and costs."""
        constraint = self.feasibility
        assert isinstance(constraint, SeparableConstraint)  # other menus have other models
        return AdditiveModel(constraint.costs, self.losses, constraint.limits)

    @cached_property
    def solver(self) -> Solver:
        """What solves the additive model; `solver.plan` is the plan of least estimated loss."""
        return make_solver(self.model)

    def starts(self) -> list[list[int]]:
        """Returns the plans that a warm start begins with, as choice indices: the solver's own."""
        return [self.solver.plan]

    def estimate(self, indices: Indices) -> Floats:
        """Returns F0, the summed estimated loss, of many plans: `(n, n_layers)` -> `(n,)`."""
        return self.model.estimate(indices)

    def normalise(self, action: Action) -> Floats:
        """Returns an action's entries in [-1, 1], also those of a MultiDiscrete."""
        one = self.space.action_space
        given = np.asarray(action, np.float64)
        if isinstance(one, spaces.MultiDiscrete):
            return (2 * given + 1) / one.nvec - 1
        return np.clip(given, -1, 1)

    def action(self, entries: Floats) -> Action:
        """Returns one layer's action whose entries, in [-1, 1], are nearest; see `normalise`."""
        one = self.space.action_space
        if isinstance(one, spaces.MultiDiscrete):
            places = np.rint(((np.asarray(entries) + 1) * one.nvec - 1) / 2)
            return np.clip(places, 0, one.nvec - 1).astype(one.dtype)
        return np.asarray(entries, np.float32)

    def index(self, step: int, choice: Choice) -> int:
        """Returns the choice's place in layer `step`'s menu; SpaceError if it is not on it."""
        try:
            return self._index[step][choice]
        except KeyError:
            raise SpaceError(
                f"The space must decode to one of its choices, but gave {choice} for "
                f"{self.layers[step].name!r}; list it in choices()."
            ) from None

    def coordinates(self, step: int) -> Floats:
        """Returns `(n_choices, width)`: each choice's action in [-1, 1]."""
        return self._coordinates[step]

    def plan(self, indices: Sequence[int]) -> Plan:
        """Returns the plan that takes choice `indices[t]` in layer t."""
        return Plan(
            {x.name: menu[i] for x, menu, i in zip(self.layers, self.choices, indices, strict=True)}
        )

    def indices(self, plan: Plan) -> list[int]:
        """Returns the choice indices of `plan`; SpaceError if a choice is not on the menu."""
        return [self.index(t, plan[layer.name]) for t, layer in enumerate(self.layers)]

    def action_range(self, step: int, mask: Mask) -> tuple[Floats, Floats]:
        """Returns the least and largest action entries, in [-1, 1], that mean a masked choice."""
        meant = self._coordinates[step][mask]
        return meant.min(0), meant.max(0)

    def execute(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> tuple[int, Action]:
        """Returns the choice that an action means on the next layer, and the action executed.

        `prefix` are the choices of the layers before; for `enforce_utilisation` see `Feasibility`.
        """
        step = len(prefix)
        index = self.project(prefix, action, enforce_utilisation)
        return index, self.space.encode(self.layers[step], self.choices[step][index])

    def execute_whole(self, action: Action) -> tuple[list[int], Action]:
        """Returns the plan that one action for the network means, and the action executed."""
        indices = self.fit(np.array([self.normalise(row) for row in self.vector.split(action)]))
        return indices, self.vector.encode(self.plan(indices))

    def step_actions(self, indices: Sequence[int]) -> list[Action] | None:
        """Returns the action of each layer that makes a feasible plan; None if none is known."""
        return list(self.vector.split(self.vector.encode(self.plan(indices))))

    def whole_action(self, indices: Sequence[int]) -> Action | None:
        """Returns the action for the network that makes a feasible plan; None if none is known.

        From then on `fit` takes it for exactly this plan, even if it could be moved up to spend
        more of the budget.
        """
        action = self.vector.encode(self.plan(indices))
        rows = np.array([self.normalise(row) for row in self.vector.split(action)])
        self._meant[rows.tobytes()] = list(indices)
        return action

    def vary(
        self, indices: Sequence[int], rng: np.random.Generator, layerwise: bool = False
    ) -> list[int]:
        """Returns a feasible plan at a random distance from another one.

        If `layerwise`, `step_actions` knows the actions that make it, else `whole_action` does.
        """
        rows = np.array([self._coordinates[t][i] for t, i in enumerate(indices)])
        return self.fit(rows + rng.normal(0, SPREAD, rows.shape))

    def meets(self, indices: Sequence[int]) -> bool:
        """Whether the plan meets every budget."""
        return self.feasibility.meets(indices)

    def settle(self, indices: Sequence[int]) -> list[int]:
        """Returns the plan itself: what is feasible here meets every budget exactly."""
        return list(indices)

    def project(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> int:
        """Returns the feasible choice nearest to what `action` asks for; see `execute`."""
        step = len(prefix)
        mask = self.feasibility.mask(prefix, enforce_utilisation)
        wanted = self.index(step, self.space.decode(self.layers[step], action))
        if mask[wanted]:
            return wanted
        return self._nearest(step, self.normalise(action), mask)

    def fit(self, actions: Floats) -> list[int]:
        """Turns one action per layer into a plan that meets every budget and wastes little.

        All actions are moved by the same amount, the largest that fits, so that no layer pays for
        its place in the network; then single layers are raised while that fits.

        Args:
            actions: `(n_layers, width)`, normalised to [-1, 1].

        Returns:
            A choice index per layer.
        """
        if (meant := self._meant.get(actions.tobytes())) is not None:
            return list(meant)
        return self._moved(actions)

    def _moved(self, actions: Floats) -> list[int]:
        low, high = -2.0, 2.0
        best = self._decode(actions + low)
        if not self.feasibility.meets(best):
            return self._walked_on(actions)
        if self.feasibility.meets(top := self._decode(actions + high)):
            return top
        for _ in range(16):
            middle = (low + high) / 2
            candidate = self._decode(actions + middle)
            if self.feasibility.meets(candidate):
                low, best = middle, candidate
            else:
                high = middle
        return self.fill(best)

    def fill(self, indices: Sequence[int]) -> list[int]:
        """Raises single layers, the cheapest steps last, while every budget holds."""
        indices = list(indices)
        spent = self.feasibility.total(indices)
        for t in self.feasibility.order:
            totals, here = self.feasibility.alternatives(indices, t), indices[t]
            coordinates = self._coordinates[t]
            higher = (coordinates >= coordinates[here] - 1e-9).all(1)
            fits = (totals <= self.feasibility.limits).all(1)
            mask = higher & fits & (totals >= spent).all(1)
            mask[here] = False
            if mask.any():
                indices[t] = self._nearest(t, coordinates[here], mask)
                spent = totals[indices[t]]
        return indices

    def walk(self, actions: Floats) -> list[int]:
        """Projects layer by layer, front to back, as the layer-by-layer environment does."""
        return self._walked_on(actions)

    def _walked_on(self, actions: Floats) -> list[int]:
        indices: list[int] = []
        for t, wanted in enumerate(actions):
            indices.append(self._nearest(t, wanted, self.feasibility.mask(indices)))
        return indices

    def _decode(self, actions: Floats) -> list[int]:
        # the nearest choice per entry; cheaper than decode, and total beyond [-1, 1]
        return [
            int(((c - np.clip(a, -1, 1)) ** 2).sum(1).argmin())
            for c, a in zip(self._coordinates, actions, strict=True)
        ]

    def _nearest(self, step: int, wanted: Floats, mask: Mask) -> int:
        distance = ((self._coordinates[step] - wanted) ** 2).sum(1)
        return int(np.where(mask, distance, np.inf).argmin())
