"""The contract of a search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.search_spaces import SearchSpace, make_space
from autocomp.testing.layers import LAYERS
from autocomp.testing.toy_problem import ToyBytes, ToyProblem

LAYER = pytest.mark.parametrize("layer", range(len(LAYERS)), ids=[x.name for x in LAYERS])
SAMPLES = 200


class SpaceContract:
    """What every search space promises; subclass it and define `make`.

    A space is asked `choices(layer)` once for each layer of a network, before anything else. Then
    `encode(layer, choice)` is asked for each of them, and its answers say how near two choices are
    to each other. While agents search, `decode(layer, action)` turns what they do into choices.
    Nothing is kept from one call to the next, and no call depends on another's layer.

    For every layer, whatever its kind: there is at least one choice, and none twice; `encode` gives
    an action that lies in `action_space`; `decode` turns it back into the same choice, and any
    action at all into one of `choices`. The action at the lower end of every entry means the first
    choice and the action at the upper end the last, which keeps at least as much of the layer: the
    projection onto budgets moves entries up to spend more. So a search finds a plan within the
    budget whatever an agent does.

    Attributes:
        layers: the layers to try, `autocomp.testing.layers.LAYERS` by default; as many.
    """

    layers: Sequence[LayerSpec] = LAYERS

    def make(self) -> SearchSpace:
        """Returns the space."""
        raise NotImplementedError

    def test_it_is_a_search_space(self) -> None:
        """An object with every method, a flat action space, and a name for each entry."""
        space = self.make()
        assert make_space(space) is space
        assert isinstance(space.action_space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete)
        assert len(space.action_space.shape or ()) <= 1
        if isinstance(space.action_space, spaces.Box):
            assert np.all(space.action_space.low == -1) and np.all(space.action_space.high == 1)
        width = int(np.prod(space.action_space.shape or ()))
        assert len(space.entry_names) == width
        assert all(isinstance(name, str) and name for name in space.entry_names)

    def test_choices_are_distinct_and_the_same_each_time(self) -> None:
        """At least one choice a layer, none twice."""
        space, other = self.make(), self.make()
        for layer in self.layers:
            found = space.choices(layer)
            assert len(found) == len(set(found)) > 0, layer.name
            assert all(isinstance(choice, Choice) for choice in found), layer.name
            assert list(other.choices(layer)) == list(found), layer.name

    @LAYER
    def test_encode_lies_in_the_space_and_decodes_back(self, layer: int) -> None:
        """For every choice of every layer."""
        space, spec = self.make(), self.layers[layer]
        for choice in space.choices(spec):
            action = space.encode(spec, choice)
            assert space.action_space.contains(action)
            assert space.decode(spec, action) == choice

    @LAYER
    def test_any_sample_decodes_to_one_of_the_choices(self, layer: int) -> None:
        """Two hundred of them."""
        space, spec = self.make(), self.layers[layer]
        space.action_space.seed(0)
        known = set(space.choices(spec))
        for _ in range(SAMPLES):
            action: Any = space.action_space.sample()
            assert space.decode(spec, action) in known, action

    @LAYER
    def test_both_extremes_are_reached(self, layer: int) -> None:
        """The lowest action means the first choice, the highest the last."""
        space, spec = self.make(), self.layers[layer]
        found = space.choices(spec)
        low, high = _ends(space.action_space)
        assert space.decode(spec, low) == found[0]
        assert space.decode(spec, high) == found[-1]

    def test_the_last_choice_keeps_as_much_as_the_first(self) -> None:
        """In weights and in bits."""
        space = self.make()
        for layer in self.layers:
            first, last = space.choices(layer)[0], space.choices(layer)[-1]
            assert layer.nonzeros(first) <= layer.nonzeros(last), layer.name
            assert first.weights.bits <= last.weights.bits, layer.name

    def test_any_action_becomes_a_plan_within_the_budget(self) -> None:
        """On the toy problem, at a budget between the least and the most of the space's plans."""
        space = self.make()
        if space.structural:
            pytest.skip("the toy problem's layers can lose no units")
        layers = ToyProblem().network.layers
        sizes = [[ToyBytes().of_layer(x, c) for c in space.choices(x)] for x in layers]
        middle = (sum(map(min, sizes)) + sum(map(max, sizes)) + 1) // 2
        feasible = ToyProblem(f"size={middle}B").feasible(space)
        space.action_space.seed(1)
        feasible.vector.action_space.seed(1)
        for _ in range(20):
            sampled: Any = feasible.vector.action_space.sample()
            whole, executed = feasible.actions.execute_whole(sampled)
            assert feasible.meets(whole)
            assert feasible.vector.action_space.contains(executed)
            prefix: list[int] = []
            for _ in layers:
                sampled = space.action_space.sample()
                index, executed = feasible.actions.execute(prefix, sampled)
                assert space.action_space.contains(executed)
                prefix.append(index)
            assert feasible.meets(prefix)


def _ends(space: Any) -> tuple[Any, Any]:
    if isinstance(space, spaces.Discrete):
        return np.int64(0), np.int64(space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return np.zeros_like(space.nvec), space.nvec - 1
    return space.low, space.high
