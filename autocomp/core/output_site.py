"""Where a layer's outputs can be rounded."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class OutputSite:
    """A module whose output carries a layer's outputs, or the sum that they go into.

    Attributes:
        module: the module's name; one forward pass calls it once.
        low: what readers make of smaller values: 0 where only a ReLU follows.
        high: what readers make of larger values: 6 where only a ReLU6 follows.
    """

    module: str
    low: float = -inf
    high: float = inf
