"""The contract of an action space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from gymnasium import spaces
from numpy.typing import NDArray

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec

Action: TypeAlias = NDArray[Any]
"""float32 entries in a Box, int64 indices in a MultiDiscrete."""
ActionSpace: TypeAlias = spaces.Box | spaces.MultiDiscrete


class SearchSpace(Protocol):
    """Which choices exist for a layer, and how an agent's action names one.

    A space never sees the network's weights, the budgets or the problem. Its contract
    (tests/search_spaces): `encode` lies in `action_space`; `decode(encode(c)) == c` for every
    choice; any sample decodes to one of `choices`; the first and the last choice are reached.

    Attributes:
        action_space: the action for one layer: a Box in [-1, 1] or a MultiDiscrete, one entry per
            property that is chosen. Larger entries keep more of the layer.
    """

    action_space: ActionSpace

    def choices(self, layer: LayerSpec) -> Sequence[Choice]:
        """Returns the finite menu of `layer`."""
        ...

    def decode(self, layer: LayerSpec, action: Action) -> Choice:
        """Returns the choice that an action means for `layer`."""
        ...

    def encode(self, layer: LayerSpec, choice: Choice) -> Action:
        """Returns an action that means `choice` for `layer`; SpaceError if none does."""
        ...
