"""One vector for the whole network, made of any layer-by-layer space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces.base import Action, ActionSpace, SearchSpace, normalise
from gymnasium import spaces

from autocomp.allocation.pareto import Floats
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.errors import SpaceError


class VectorSpace:
    """The actions of all layers behind one another.

    Attributes:
        action_space: Box or MultiDiscrete with `n_layers * width` entries.
        width: entries per layer.
    """

    action_space: ActionSpace

    def __init__(self, space: SearchSpace, layers: Sequence[LayerSpec]) -> None:
        self.space = space
        self.layers = tuple(layers)
        one, n = space.action_space, len(self.layers)
        self.width = 1
        if isinstance(one, spaces.Box) and len(one.shape) == 1:
            self.action_space = spaces.Box(
                np.tile(one.low, n), np.tile(one.high, n), dtype=np.float32
            )
            self.width = int(one.shape[0])
        elif isinstance(one, spaces.MultiDiscrete) and one.nvec.ndim == 1:
            self.action_space = spaces.MultiDiscrete(np.tile(one.nvec, n))
            self.width = int(one.shape[0])
        elif isinstance(one, spaces.Discrete) and one.start == 0:
            self.action_space = spaces.MultiDiscrete(np.full(n, one.n))
        else:
            raise SpaceError(
                "A space's action must be a flat Box, a Discrete from 0 or a MultiDiscrete, but "
                f"{type(space).__name__} has {one}; change its action_space."
            )

    def split(self, action: Action) -> Action:
        """Returns the vector as `(n_layers, width)`; SpaceError if its length differs."""
        given = np.asarray(action)
        if given.size != len(self.layers) * self.width:
            raise SpaceError(
                f"A plan's action must have {len(self.layers) * self.width} entries, "
                f"but got {given.size}."
            )
        return given.reshape(len(self.layers), self.width)

    def normalised(self, action: Action) -> Floats:
        """Returns the vector's entries in [-1, 1], `(n_layers, width)`."""
        return np.array([normalise(self.space.action_space, row) for row in self.split(action)])

    def decode(self, action: Action) -> Plan:
        """Returns the plan that a vector means; budgets play no part."""
        rows = self.split(action)
        return Plan(
            {x.name: self.space.decode(x, row) for x, row in zip(self.layers, rows, strict=True)}
        )

    def encode(self, plan: Plan) -> Action:
        """Returns a vector that means `plan`."""
        rows = [self.space.encode(layer, plan[layer.name]) for layer in self.layers]
        joined: Action = np.concatenate([np.reshape(row, -1) for row in rows])
        return joined
