"""Actions that are multipliers on losses; a solver makes the plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces.base import Action, normalise
from autocomp.search_spaces.multiplier_scale import MultiplierScale
from autocomp.search_spaces.named_actions import SPREAD

from autocomp.allocation.allocation import Allocation, Mask
from autocomp.allocation.pareto import Floats
from autocomp.errors import SpaceError


class Multipliers:
    """Every action is feasible: the solver sees to the budgets.

    At once: the plan of least sum_t m_t * loss_t within the budgets, m_t being the multipliers.
    Layer by layer: argmin_i m_t * loss_t(i) + V_{t+1}(what is left), the least loss of the layers
    after it with neutral multipliers. Neutral actions give the solver's own plan both ways.

    Plans keep their actions by memory; layer by layer they also have them by inversion, for
    a choice is the solver's for an interval of multipliers. A plan that no multipliers are known
    to make (a uniform one, most often) has none.

    Args:
        scale: what an entry multiplies by.
        allocation: losses, costs and limits; they must add up over layers.

    Attributes:
        spread: an agent's sigma is one of log-multipliers.
        resolution: that of the scale.

    Raises:
        SpaceError: if costs do not add up over layers.
    """

    def __init__(self, scale: MultiplierScale, allocation: Allocation) -> None:
        if not allocation.separable:
            raise SpaceError(
                "`coefficients` needs costs that add up over layers, but channels couple them; "
                "search that space itself, or take coefficients of another menu."
            )
        self._scale, self._allocation = scale, allocation
        self.spread = min(1.0, 1 / scale.span)
        self.resolution = scale.resolution
        self._walked: dict[tuple[int, ...], Floats] = {}
        self._made: dict[tuple[int, ...], Floats] = {}

    def action_range(self, step: int, mask: Mask) -> tuple[Floats, Floats]:
        """Returns -1 and 1: every action is feasible."""
        return np.full(1, -1.0), np.ones(1)

    def execute(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> tuple[int, Action]:
        """Returns the solver's choice, and the action itself."""
        entry = self._entries(action)
        index = self._allocation.choose(prefix, self._scale.multiplier(float(entry[0])))
        return index, self._scale.action(entry)

    def execute_whole(self, action: Action) -> tuple[list[int], Action]:
        """Returns the solver's plan, and the action itself."""
        rows = np.asarray(action).reshape(len(self._allocation.losses), 1)
        entries = np.array([self._entries(row) for row in rows])
        return self.fit(entries), self._scale.whole_action(entries)

    def fit(self, rows: Floats) -> list[int]:
        """Returns the solver's plan for all multipliers at once, `(n_layers, 1)` entries."""
        entries = self._scale.snap(rows)
        indices = self._allocation.reweighted(self._scale.multipliers(entries[:, 0]))
        self._made.setdefault(tuple(indices), entries)
        return indices

    def walk(self, rows: Floats) -> list[int]:
        """Returns the plan of one multiplier after the other, front to back."""
        entries = self._scale.snap(rows)
        indices: list[int] = []
        for multiplier in self._scale.multipliers(entries[:, 0]).tolist():
            indices.append(self._allocation.choose(indices, multiplier))
        self._walked.setdefault(tuple(indices), entries)
        return indices

    def step_actions(self, indices: Sequence[int]) -> list[Action] | None:
        """Returns the actions of a plan, remembered or by inversion; None if there are none."""
        rows = self._step_entries(indices)
        return None if rows is None else [self._scale.action(row) for row in rows]

    def whole_action(self, indices: Sequence[int]) -> Action | None:
        """Returns the remembered action of a plan; None if there is none."""
        rows = self._whole_entries(indices)
        return None if rows is None else self._scale.whole_action(rows)

    def vary(
        self, indices: Sequence[int], rng: np.random.Generator, layerwise: bool = False
    ) -> list[int]:
        """Returns the plan of multipliers around the given plan's, neutral if it has none."""
        rows = self._step_entries(indices) if layerwise else self._whole_entries(indices)
        base = np.zeros((len(indices), 1)) if rows is None else rows
        sigma = max(SPREAD * self.spread, self._scale.resolution / 2)
        varied = base + rng.normal(0, sigma, base.shape)
        return self.walk(varied) if layerwise else self.fit(varied)

    def _whole_entries(self, indices: Sequence[int]) -> Floats | None:
        if list(indices) == self._allocation.plan:
            return np.zeros((len(indices), 1))
        return self._made.get(tuple(indices))

    def _step_entries(self, indices: Sequence[int]) -> Floats | None:
        if (known := self._walked.get(tuple(indices))) is not None:
            return known
        rows = np.zeros((len(indices), 1))
        for t, index in enumerate(indices):
            before = indices[:t]
            interval = self._allocation.interval(before, index)
            if interval is None:
                return None
            rows[t] = self._scale.snap(np.array([self._scale.entry(*interval)]))
            if self._allocation.choose(before, self._scale.multiplier(float(rows[t, 0]))) != index:
                return None  # the interval lies beyond the span, or between two levels
        return rows

    def _entries(self, action: Action) -> Floats:
        entries = normalise(self._scale.action_space, action)
        if not np.isfinite(entries).all():
            raise SpaceError(f"An action must hold finite numbers, but got {action!r}.")
        return self._scale.snap(entries)
