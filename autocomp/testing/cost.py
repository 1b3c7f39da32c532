"""The contract of a cost."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import pytest
import torch

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.costs import Cost, make_cost, total
from autocomp.testing.networks import calibrated, small_network

SPARSITIES = tuple(s / 20 for s in range(20))
CHOICES = (
    NEUTRAL, Choice.of(sparsity=0.5), Choice.of(sparsity=0.5, weight_bits=4),
    Choice.of(pattern="2:4"), Choice.of(sparsity=0.9999), Choice.of(weight_bits=2),
    Choice.of(weight_bits=4, activation_bits=8),
)  # fmt: skip


class CostContract:
    """What every cost promises; subclass it and define `make`.

    A cost is made of a `CompressionStore`: the network and, on demand, each layer's compressed
    weight. It is then asked for its `reference`, what `ratio` budgets refer to; before a search for
    `of_layer` of every choice of every layer and for `fixed`; and in a search for the sum over a
    plan's layers, plus `fixed`. All are whole numbers (`int`) that are not negative, in `unit`, and
    the same each time. The network and the store's weights are left as they are.

    The neutral choice on every layer costs what the dense network does, `reference`. More zeros,
    fewer bits of weights or fewer bits of inputs never cost more, other things being equal. What
    is frozen (left out of the search) costs as much as it does under the neutral choice, and is
    part of `fixed`. A rounded side (16 bits instead of 32 for biases and statistics) never costs
    more.

    Attributes:
        tolerance: by which share of itself a number may miss what is said above; 0 by default.
        slack: by how many units beside that; 0 by default.
    """

    tolerance = 0.0
    slack = 0

    def make(self, store: CompressionStore) -> Cost:
        """Returns the cost of a network."""
        raise NotImplementedError

    def test_it_is_a_cost(self) -> None:
        """An object with every member, with a unit."""
        cost = make_cost("under test", calibrated(small_network()), self.make)
        assert isinstance(cost.unit, str) and cost.unit
        assert cost.measured in (True, False)

    def test_numbers_are_whole_not_negative_and_the_same_each_time(self) -> None:
        """The reference, what is fixed, and every layer's."""
        store = calibrated(small_network())
        cost, other = self.make(store), self.make(store)
        pairs = [
            (cost.reference, other.reference), (cost.fixed(16), other.fixed(16)),
            (cost.fixed(32), other.fixed(32)),
        ]  # fmt: skip
        for layer in store.network.layers:
            for choice in _possible(layer, CHOICES):
                first = cost.of_layer(layer, choice)
                pairs += [(first, x.of_layer(layer, choice)) for x in (cost, other)]
        assert all(type(a) is int and a >= 0 for a, _ in pairs)
        assert all(a == b for a, b in pairs)

    def test_the_neutral_plan_costs_what_the_network_does(self) -> None:
        """Which is the reference."""
        store = calibrated(small_network())
        cost = self.make(store)
        neutral = total(cost, store.network, store.network.neutral_plan())
        assert self._close(neutral, cost.reference)
        assert cost.fixed(16) <= cost.fixed(32)

    @pytest.mark.parametrize("bits", [(32, 32), (4, 8)], ids=str)
    def test_more_zeros_never_cost_more(self, bits: tuple[int, int]) -> None:
        """At any bit-width."""
        self._never_more(
            Choice.of(sparsity=s, weight_bits=bits[0], activation_bits=bits[1]) for s in SPARSITIES
        )

    def test_fewer_bits_of_weights_never_cost_more(self) -> None:
        """Of a layer that is half zeros."""
        self._never_more(Choice.of(sparsity=0.5, weight_bits=b) for b in reversed(BITS))

    def test_fewer_bits_of_inputs_never_cost_more(self) -> None:
        """Of a layer that is half zeros; its scales and zero-points may be counted."""
        self._never_more(
            Choice.of(sparsity=0.5, weight_bits=8, activation_bits=b) for b in reversed(BITS)
        )

    def test_what_is_frozen_is_fixed(self) -> None:
        """The reference stays, and the layer's share is counted all the same."""
        last = calibrated(small_network()).network.layers[-1].name
        every, frozen = calibrated(small_network()), calibrated(small_network(), (last,))
        cost, other = self.make(every), self.make(frozen)
        assert cost.reference == other.reference
        share = cost.of_layer(every.network.layer(last), NEUTRAL)
        assert self._close(other.fixed(32) - cost.fixed(32), share)

    def test_the_network_is_left_as_it_was(self) -> None:
        """Its weights, and the mode of its modules."""
        model = small_network()
        before = copy.deepcopy(model.state_dict())
        store = calibrated(model)
        cost = self.make(store)
        for layer in store.network.layers:
            cost.of_layer(layer, Choice.of(sparsity=0.5, weight_bits=4))
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
        assert not any(module.training for module in model.modules())

    def _never_more(self, choices: Iterable[Choice]) -> None:
        store = calibrated(small_network())
        cost = self.make(store)
        ladder = list(choices)
        for layer in store.network.layers:
            costs = [cost.of_layer(layer, c) for c in _possible(layer, ladder)]
            for more, fewer in zip(costs, costs[1:], strict=False):
                assert fewer <= more * (1 + self.tolerance) + self.slack, (layer.name, costs)

    def _close(self, a: int, b: int) -> bool:
        return abs(a - b) <= max(a, b) * self.tolerance + self.slack


def _possible(layer: LayerSpec, choices: Sequence[Choice]) -> list[Choice]:
    """Returns the choices that a layer can take: some have too few inputs for a pattern."""
    return [
        c for c in choices
        if not c.weights.pattern or c.weights.n_of_m[1] <= layer.shape[layer.in_axis]
    ]  # fmt: skip
