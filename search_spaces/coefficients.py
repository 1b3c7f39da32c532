"""SPDY's action: how much each layer's estimated loss counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from autocomp.search_spaces.base import Action, ActionSpace, SearchSpace
from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import SpaceError

LEVELS = 9
"""Multipliers of a discrete space; odd, so that the middle one is neutral."""


class CoefficientSpace:
    """Multipliers on the layers' estimated losses (Frantar and Alistarh 2022, arXiv:2201.13096).

    One action entry a in [-1, 1] per layer multiplies its losses by exp(span * a); an exact solver
    (`CoefficientMenu` in envs) turns the multipliers into the best plan within every budget. Zeros
    are neutral: the solver's own plan. So every action is feasible, and what is learned is where
    the estimates are wrong. An action alone is no choice: `decode` and `encode` refuse.

    Args:
        inner: the space whose choices are taken.
        span: the largest logarithm of a multiplier, above 0.
        discrete: `LEVELS` multipliers instead of numbers in [-1, 1].
    """

    action_space: ActionSpace

    def __init__(self, inner: SearchSpace, span: float = 3.0, discrete: bool = False) -> None:
        if not 0 < span <= 20:
            raise SpaceError(f"`0 < span <= 20` must hold, but got {span=}.")
        self.inner = inner
        self.span = float(span)
        self.resolution = 2 / LEVELS if discrete else 0.0
        if discrete:
            self.action_space = spaces.MultiDiscrete([LEVELS])
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def choices(self, layer: LayerSpec) -> Sequence[Choice]:
        """Returns the inner space's choices."""
        return self.inner.choices(layer)

    def multiplier(self, entry: float) -> float:
        """Returns exp(span * entry)."""
        return float(np.exp(self.span * entry))

    def entry(self, low: float, high: float) -> float:
        """Returns the entry nearest to neutral between two multipliers, away from both if not 0."""
        if low < 1 < high or low == 1 == high:
            return 0.0
        ends = np.array([np.log(x) if x > 0 else -np.inf for x in (low, high)])
        return float(np.clip(ends, -self.span, self.span).mean() / self.span)

    def snap(self, entries: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the nearest entries that an action can hold."""
        inside = np.clip(entries, -1, 1)
        if self.resolution:
            half = LEVELS // 2
            return np.clip(np.round(inside / self.resolution), -half, half) * self.resolution
        return inside.astype(np.float32).astype(np.float64)

    def action(self, entries: NDArray[np.float64]) -> Action:
        """Returns the action that holds the entries."""
        if self.resolution:
            return (np.round(entries / self.resolution) + LEVELS // 2).astype(np.int64)
        return entries.astype(np.float32)

    def decode(self, layer: LayerSpec, action: Action) -> NoReturn:
        """Raises SpaceError: one layer's multiplier decides nothing alone."""
        self._refuse()

    def encode(self, layer: LayerSpec, choice: Choice) -> NoReturn:
        """Raises SpaceError: one layer's choice has no multiplier of its own."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SpaceError(
            "An action of `coefficients` means a choice only within a budget; build its menu by "
            "autocomp.envs.make_menu(problem, space)."
        )
