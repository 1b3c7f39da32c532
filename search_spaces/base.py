"""The contract of an action space, and of what its actions mean under a problem's budgets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.allocation.allocation import Allocation, Mask
from autocomp.allocation.pareto import Floats
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec

Action: TypeAlias = NDArray[Any]
"""float32 entries in a Box, int64 indices in a Discrete or MultiDiscrete."""
ActionSpace: TypeAlias = spaces.Box | spaces.Discrete | spaces.MultiDiscrete


class ActionMap(Protocol):
    """What actions mean under budgets: each becomes a plan that meets them.

    Attributes:
        spread: factor on an agent's exploration noise, 1 where actions name choices.
        resolution: distance of two entries that an action can hold; 0 for a continuous space.
    """

    spread: float
    resolution: float

    def action_range(self, step: int, mask: Mask) -> tuple[Floats, Floats]:
        """Returns the least and largest action entries, in [-1, 1], that mean a masked choice."""
        ...

    def execute(
        self, prefix: Sequence[int], action: Action, enforce_utilisation: bool = True
    ) -> tuple[int, Action]:
        """Returns the choice that an action means on the next layer, and the action executed.

        `prefix` are the choices of the layers before; for `enforce_utilisation` see `Costs.mask`.
        """
        ...

    def execute_whole(self, action: Action) -> tuple[list[int], Action]:
        """Returns the plan that one action for the network means, and the action executed."""
        ...

    def step_actions(self, indices: Sequence[int]) -> list[Action] | None:
        """Returns the action of each layer that makes a feasible plan; None if none is known."""
        ...

    def whole_action(self, indices: Sequence[int]) -> Action | None:
        """Returns the action for the network that makes a feasible plan; None if none is known."""
        ...

    def vary(
        self, indices: Sequence[int], rng: np.random.Generator, layerwise: bool = False
    ) -> list[int]:
        """Returns a feasible plan at a random distance from another one.

        If `layerwise`, `step_actions` knows the actions that make it, else `whole_action` does.
        """
        ...

    def fit(self, rows: Floats) -> list[int]:
        """Returns the feasible plan that `(n_layers, width)` entries in [-1, 1] mean at once."""
        ...

    def walk(self, rows: Floats) -> list[int]:
        """Returns the feasible plan that they mean one after the other, front to back."""
        ...


@runtime_checkable
class SearchSpace(Protocol):
    """Which choices exist for a layer, and how an agent's action names one.

    A space never sees the network's weights, the budgets or the problem. Inherit from this class:
    what is asked beside the three methods then has its default. `autocomp.testing.SpaceContract`
    holds the contract: `encode` lies in `action_space`; `decode(encode(c)) == c` for every choice;
    any sample decodes to one of `choices`; the first and the last choice are reached.

    Attributes:
        action_space: the action for one layer: a Box in [-1, 1], a Discrete or a MultiDiscrete, one
            entry per property that is chosen. Larger entries keep more of the layer.
        structural: whether choices may take units or rank away, so that a layer's cost depends on
            its neighbours'.
    """

    action_space: ActionSpace
    structural: bool = False

    @abstractmethod
    def choices(self, layer: LayerSpec) -> Sequence[Choice]:
        """Returns the finite menu of `layer`, the most compressed choice first."""
        ...

    @abstractmethod
    def decode(self, layer: LayerSpec, action: Action) -> Choice:
        """Returns the choice that an action means for `layer`."""
        ...

    @abstractmethod
    def encode(self, layer: LayerSpec, choice: Choice) -> Action:
        """Returns an action that means `choice` for `layer`; SpaceError if none does."""
        ...

    @property
    def entry_names(self) -> tuple[str, ...]:
        """What each entry keeps more of when it grows, in words ("weights kept", "weight bits")."""
        width = int(np.prod(self.action_space.shape or ())) or 1
        return ("action",) if width == 1 else tuple(f"action {i}" for i in range(width))

    @property
    def names(self) -> SearchSpace:
        """The space whose actions name these choices: itself, unless actions mean otherwise."""
        return self

    def action_map(self, layers: Sequence[LayerSpec], allocation: Allocation) -> ActionMap | None:
        """Returns what actions mean, where they do not name choices; None where they do.

        Args:
            layers: the network's layers.
            allocation: costs, losses and limits of their choices.

        Raises:
            SpaceError: if that cannot be with these costs.
        """
        return None


def normalise(space: ActionSpace, action: Action) -> Floats:
    """Returns an action's entries in [-1, 1], also those of a Discrete or MultiDiscrete."""
    given = np.asarray(action, np.float64)
    if isinstance(space, spaces.MultiDiscrete):
        return (2 * given + 1) / space.nvec - 1
    if isinstance(space, spaces.Discrete):
        return (2 * given.reshape(1) + 1) / int(space.n) - 1
    return np.clip(given, -1, 1)


def as_action(space: ActionSpace, entries: Floats) -> Action:
    """Returns one layer's action whose entries, in [-1, 1], are nearest; see `normalise`."""
    given = np.asarray(entries)
    if isinstance(space, spaces.MultiDiscrete):
        places = np.rint(((given + 1) * space.nvec - 1) / 2)
        return np.clip(places, 0, space.nvec - 1).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        n = int(space.n)
        return np.clip(np.rint(((given.reshape(()) + 1) * n - 1) / 2), 0, n - 1).astype(np.int64)
    return np.asarray(entries, np.float32)
