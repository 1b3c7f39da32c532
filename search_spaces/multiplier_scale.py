"""The scale on which an action multiplies losses."""

from __future__ import annotations

import numpy as np
from autocomp.search_spaces.base import Action, ActionSpace
from gymnasium import spaces

from autocomp.allocation.pareto import Floats
from autocomp.errors import SpaceError

LEVELS = 9
"""Multipliers of a discrete scale; odd, so that the middle one is neutral."""


class MultiplierScale:
    """An entry a in [-1, 1] multiplies by exp(span * a); 0 is neutral.

    Args:
        span: the largest logarithm of a multiplier, in (0, 20].
        discrete: `LEVELS` multipliers instead of numbers in [-1, 1].

    Attributes:
        action_space: one entry.
        resolution: distance of two entries that an action can hold; 0 for a continuous scale.
    """

    action_space: ActionSpace

    def __init__(self, span: float = 3.0, discrete: bool = False) -> None:
        if not 0 < span <= 20:
            raise SpaceError(f"`0 < span <= 20` must hold, but got {span=}.")
        self.span = float(span)
        self.resolution = 2 / LEVELS if discrete else 0.0
        if discrete:
            self.action_space = spaces.Discrete(LEVELS)
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def multipliers(self, entries: Floats) -> Floats:
        """Returns exp(span * entries)."""
        return np.asarray(np.exp(self.span * entries), np.float64)

    def multiplier(self, entry: float) -> float:
        """Returns exp(span * entry)."""
        return float(np.exp(self.span * entry))

    def entry(self, low: float, high: float) -> float:
        """Returns the entry nearest to neutral between two multipliers, away from both if not 0."""
        if low < 1 < high or low == 1 == high:
            return 0.0
        ends = np.array([np.log(x) if x > 0 else -np.inf for x in (low, high)])
        return float(np.clip(ends, -self.span, self.span).mean() / self.span)

    def snap(self, entries: Floats) -> Floats:
        """Returns the nearest entries that an action can hold."""
        inside = np.clip(entries, -1, 1)
        if self.resolution:
            half = LEVELS // 2
            return np.clip(np.round(inside / self.resolution), -half, half) * self.resolution
        return inside.astype(np.float32).astype(np.float64)

    def action(self, entry: Floats) -> Action:
        """Returns one layer's action that holds the entry, an array `(1,)`."""
        if self.resolution:
            return (np.round(entry.reshape(()) / self.resolution) + LEVELS // 2).astype(np.int64)
        return entry.astype(np.float32)

    def whole_action(self, entries: Floats) -> Action:
        """Returns the network's action that holds entries of any shape, one behind another."""
        flat = entries.reshape(-1)
        if self.resolution:
            return (np.round(flat / self.resolution) + LEVELS // 2).astype(np.int64)
        return flat.astype(np.float32)
