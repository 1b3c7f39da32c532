"""Actions that name choices, moved onto the budgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces.base import Action, SearchSpace, normalise
from autocomp.search_spaces.vector import VectorSpace

from autocomp.allocation.allocation import Allocation, Mask
from autocomp.allocation.pareto import Floats
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import SpaceError

SPREAD = 0.35
"""Spread of actions around a known plan; the action interval is 2 wide."""


class NamedActions:
    """Each action names a choice; where that does not fit, the nearest that does is taken.

    Layer by layer the choice is projected onto those from which every budget can still be met. At
    once all actions are moved by the same amount, the largest that fits, so that no layer pays for
    its place in the network; then single layers are raised while that fits.

    Args:
        space: the search space.
        layers: the network's layers.
        choices: per layer, its choices.
        allocation: what fits the budgets.
    """

    spread = 1.0
    resolution = 0.0

    def __init__(
        self,
        space: SearchSpace,
        layers: Sequence[LayerSpec],
        choices: Sequence[Sequence[Choice]],
        allocation: Allocation,
    ) -> None:
        self._space, self._layers, self._choices = space, layers, choices
        self._allocation = allocation
        self._vector = VectorSpace(space, layers)
        self._places = [{choice: i for i, choice in enumerate(menu)} for menu in choices]
        self._coordinates = [
            np.array([normalise(space.action_space, space.encode(layer, c)) for c in menu])
            for layer, menu in zip(layers, choices, strict=True)
        ]
        self._meant: dict[bytes, list[int]] = {}

    def coordinates(self, step: int) -> Floats:
        """Returns `(n_choices, width)`: the entries in [-1, 1] that name each choice of a layer."""
        return self._coordinates[step]

    def action_range(self, step: int, mask: Mask) -> tuple[Floats, Floats]:
        """See `ActionMap`."""
        meant = self._coordinates[step][mask]
        return meant.min(0), meant.max(0)

    def execute(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> tuple[int, Action]:
        """Returns the feasible choice nearest to what an action names, and its own action."""
        step = len(prefix)
        mask = self._allocation.mask(prefix, enforce_utilisation)
        wanted = self._space.decode(self._layers[step], action)
        if wanted not in self._places[step]:
            raise SpaceError(
                f"The space must decode to one of its choices, but gave {wanted} for "
                f"{self._layers[step].name!r}; list it in choices()."
            )
        index = self._places[step][wanted]
        if not mask[index]:
            index = self._nearest(step, normalise(self._space.action_space, action), mask)
        return index, self._space.encode(self._layers[step], self._choices[step][index])

    def execute_whole(self, action: Action) -> tuple[list[int], Action]:
        """See `ActionMap`."""
        indices = self.fit(self._rows(action))
        return indices, self._encoded(indices)

    def step_actions(self, indices: Sequence[int]) -> list[Action] | None:
        """See `ActionMap`."""
        return [
            self._space.encode(layer, menu[i])
            for layer, menu, i in zip(self._layers, self._choices, indices, strict=True)
        ]

    def whole_action(self, indices: Sequence[int]) -> Action | None:
        """Returns the action for the network that makes a feasible plan.

        From then on `fit` takes it for exactly this plan, even if it could be moved up to spend
        more of the budget.
        """
        action = self._encoded(indices)
        self._meant[self._rows(action).tobytes()] = list(indices)
        return action

    def vary(
        self, indices: Sequence[int], rng: np.random.Generator, layerwise: bool = False
    ) -> list[int]:
        """See `ActionMap`."""
        rows = np.array([self._coordinates[t][i] for t, i in enumerate(indices)])
        return self.fit(rows + rng.normal(0, SPREAD, rows.shape))

    def fit(self, rows: Floats) -> list[int]:
        """Turns one action per layer into a plan that meets every budget and wastes little.

        Args:
            rows: `(n_layers, width)`, normalised to [-1, 1].

        Returns:
            A choice index per layer.
        """
        meant = self._meant.get(rows.tobytes())
        return self._allocation.settle(self._moved(rows) if meant is None else meant)

    def even(self) -> list[int]:
        """Returns the plan that spreads the budget evenly: the middle of every property, moved."""
        middle = np.array([np.zeros_like(c[0]) for c in self._coordinates])
        return self._allocation.settle(self._moved(middle))

    def fill(self, indices: Sequence[int]) -> list[int]:
        """Raises single layers, the cheapest steps last, while every budget holds."""
        return self._allocation.settle(self._filled(indices))

    def walk(self, rows: Floats) -> list[int]:
        """See `ActionMap`."""
        return self._allocation.settle(self._walked(rows))

    def _moved(self, rows: Floats) -> list[int]:
        allocation = self._allocation
        low, high = -2.0, 2.0
        best = self._decoded(rows + low)
        if not allocation.meets(best):
            return self._walked(rows)
        if allocation.meets(top := self._decoded(rows + high)):
            return top
        for _ in range(16):
            middle = (low + high) / 2
            candidate = self._decoded(rows + middle)
            if allocation.meets(candidate):
                low, best = middle, candidate
            else:
                high = middle
        return self.fill(best)

    def _filled(self, indices: Sequence[int]) -> list[int]:
        allocation = self._allocation
        indices = list(indices)
        spent = allocation.total(indices)
        for t in allocation.order:
            totals, here = allocation.alternatives(indices, t), indices[t]
            coordinates = self._coordinates[t]
            higher = (coordinates >= coordinates[here] - 1e-9).all(1)
            fits = (totals <= allocation.limits).all(1)
            mask = higher & fits & (totals >= spent).all(1)
            mask[here] = False
            if mask.any():
                indices[t] = self._nearest(t, coordinates[here], mask)
                spent = totals[indices[t]]
        return indices

    def _walked(self, rows: Floats) -> list[int]:
        indices: list[int] = []
        for t, wanted in enumerate(rows):
            indices.append(self._nearest(t, wanted, self._allocation.mask(indices)))
        return indices

    def _decoded(self, rows: Floats) -> list[int]:
        # the nearest choice per entry; cheaper than decode, and total beyond [-1, 1]
        return [
            int(((c - np.clip(a, -1, 1)) ** 2).sum(1).argmin())
            for c, a in zip(self._coordinates, rows, strict=True)
        ]

    def _nearest(self, step: int, wanted: Floats, mask: Mask) -> int:
        distance = ((self._coordinates[step] - wanted) ** 2).sum(1)
        return int(np.where(mask, distance, np.inf).argmin())

    def _rows(self, action: Action) -> Floats:
        return self._vector.normalised(action)

    def _encoded(self, indices: Sequence[int]) -> Action:
        actions = self.step_actions(indices)
        joined: Action = np.concatenate([np.reshape(a, -1) for a in actions or ()])
        return joined
