"""Multipliers on the layers' estimated losses as actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from autocomp.search_spaces.base import Action, ActionMap, ActionSpace, SearchSpace
from autocomp.search_spaces.multiplier_scale import MultiplierScale
from autocomp.search_spaces.multipliers import Multipliers

from autocomp.allocation.allocation import Allocation
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import SpaceError


class CoefficientSpace(SearchSpace):
    """Multipliers on the layers' estimated losses (Frantar and Alistarh 2022, arXiv:2201.13096).

    One action entry a in [-1, 1] per layer multiplies its losses by exp(span * a); an exact solver
    (`Multipliers`) turns the multipliers into the best plan within every budget. Zeros are neutral:
    the solver's own plan. So every action is feasible, and what is learned is where the estimates
    are wrong. An action alone is no choice: `decode` and `encode` refuse.

    Args:
        inner: the space whose choices are taken.
        span: the largest logarithm of a multiplier, above 0.
        discrete: nine multipliers instead of numbers in [-1, 1].
    """

    action_space: ActionSpace

    def __init__(self, inner: SearchSpace, span: float = 3.0, discrete: bool = False) -> None:
        self.inner = inner
        self.scale = MultiplierScale(span, discrete)
        self.action_space = self.scale.action_space
        self.structural = inner.structural

    def choices(self, layer: LayerSpec) -> Sequence[Choice]:
        """Returns the inner space's choices."""
        return self.inner.choices(layer)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """See `SearchSpace`."""
        return ("care for the layer's loss",)

    @property
    def names(self) -> SearchSpace:
        """The inner space."""
        return self.inner.names

    def action_map(self, layers: Sequence[LayerSpec], allocation: Allocation) -> ActionMap:
        """See `SearchSpace`."""
        return Multipliers(self.scale, allocation)

    def decode(self, layer: LayerSpec, action: Action) -> NoReturn:
        """Raises SpaceError: one layer's multiplier decides nothing alone."""
        self._refuse()

    def encode(self, layer: LayerSpec, choice: Choice) -> NoReturn:
        """Raises SpaceError: one layer's choice has no multiplier of its own."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SpaceError(
            "An action of `coefficients` means a choice only within a budget; see "
            "autocomp.search_spaces.FeasibleSpace.build(problem, space)."
        )
