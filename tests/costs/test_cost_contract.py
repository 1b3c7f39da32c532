"""What every cost promises; a new one in `COSTS` is tested by being there."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from torch import nn

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.costs import COSTS, Cost, make_cost, total
from autocomp.errors import UnknownNameError
from autocomp.network.analysis import analyse
from autocomp.testing import CostContract

# latency is measured, and zeros do not change it: see test_latency_cost.py
COUNTED = [name for name in COSTS if name != "latency"]
EVERY = pytest.mark.parametrize("name", COUNTED)
EXACT = [name for name in COUNTED if name != "size"]
SPARSITIES = [Choice.of(sparsity=s / 20) for s in range(20)]
UNITS = {
    "size": "bytes", "params": "params", "macs": "MACs", "bitops": "BitOps",
    "weight_memory": "bytes", "energy": "pJ",
}  # fmt: skip


def store_of(model: nn.Module, keep: tuple[str, ...] = ()) -> CompressionStore:
    return CompressionStore(model, analyse(model, torch.rand(2, *shape_of(model)), keep))


def shape_of(model: nn.Module) -> tuple[int, ...]:
    first = next(p for p in model.parameters() if p.dim() > 1)
    return (first.shape[1],) if first.dim() == 2 else (first.shape[1], 8, 8)


def by_hand() -> nn.Module:
    """64 positions * 2 outputs * 27 weights = 3,456 MACs, and 2 outputs * 4 weights * 3."""
    return nn.Sequential(
        nn.Conv2d(3, 2, 3, padding=1), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )


@EVERY
@pytest.mark.parametrize("which", ["tiny", "digits"])
def test_the_neutral_plan_costs_what_the_network_does(
    name: str, which: str, tiny_net: nn.Module, digits_model: nn.Module
) -> None:
    model = tiny_net if which == "tiny" else digits_model
    store = store_of(model)
    cost = make_cost(name, store)
    neutral = total(cost, store.network, store.network.neutral_plan())
    if name == "size":
        raw = {k: v.contiguous() for k, v in model.state_dict().items()}
        assert cost.reference == len(save(raw))
        # a container of its own, but a shorter index than one JSON entry a tensor
        assert cost.reference * 0.95 < neutral <= cost.reference
        for layer in store.network.layers:
            assert cost.of_layer(layer, NEUTRAL) == layer.n_weights * 4
    else:
        assert neutral == cost.reference


@EVERY
def test_tied_weights_count_once(name: str) -> None:
    model = nn.Sequential(nn.Linear(40, 40, bias=False), nn.Linear(40, 40, bias=False))
    model[1].weight = model[0].weight
    store = store_of(model)
    cost = make_cost(name, store)
    expected = {"params": 1600, "macs": 3200, "bitops": 3200 * 1024}
    expected["size"] = len(save({"0.weight": model[0].weight.detach()}))
    assert cost.reference == expected.get(name, cost.reference)


@pytest.mark.parametrize("name", EXACT)
class TestExact(CostContract):
    @pytest.fixture(autouse=True)
    def _choose(self, name: str) -> None:
        self.name = name

    def make(self, store: CompressionStore) -> Cost:
        return make_cost(self.name, store)


class TestSize(CostContract):
    """Rounding noise, a container of its own, and masks that must pay for themselves first."""

    tolerance = 0.02
    slack = 16

    def make(self, store: CompressionStore) -> Cost:
        return make_cost("size", store)

    def test_the_neutral_plan_costs_what_the_network_does(self) -> None:
        self.tolerance = 0.05
        super().test_the_neutral_plan_costs_what_the_network_does()

    def test_what_is_frozen_is_fixed(self) -> None:
        self.tolerance, self.slack = 0.12, 0  # deflated where it is kept
        super().test_what_is_frozen_is_fixed()

    def test_more_zeros_never_cost_more(self, digits_model: nn.Module) -> None:  # type: ignore[override]
        store = store_of(digits_model)
        cost = self.make(store)
        for layer in store.network.layers[1:]:
            for weight_bits in (3, 32):
                sizes = [
                    cost.of_layer(
                        layer, Choice.of(sparsity=c.weights.sparsity, weight_bits=weight_bits)
                    )
                    for c in SPARSITIES
                ]
                if weight_bits == 32:  # the mask must pay for itself first
                    sizes = sizes[2:]
                assert all(b <= a * 1.02 + 16 for a, b in zip(sizes, sizes[1:], strict=False))
                assert sizes[-1] < sizes[0] / 2


@EVERY
def test_units(name: str, tiny_net: nn.Module) -> None:
    assert make_cost(name, store_of(tiny_net)).unit == UNITS[name]


@pytest.mark.parametrize("name", [x for x in EXACT if x not in ("weight_memory", "energy")])
def test_zeros_pay(name: str, tiny_net: nn.Module) -> None:
    store = store_of(tiny_net)
    cost = make_cost(name, store)
    for layer in store.network.layers:
        assert cost.of_layer(layer, SPARSITIES[0]) > cost.of_layer(layer, SPARSITIES[-1])


def test_fewer_bits_never_take_more_bytes(digits_model: nn.Module) -> None:
    """Within a tolerance: rounding noise of 2 % and 16 bytes a layer."""
    store = store_of(digits_model)
    cost = make_cost("size", store)
    for layer in store.network.layers[1:]:
        for sparsity in (0.0, 0.6):
            sizes = [
                cost.of_layer(layer, Choice.of(sparsity=sparsity, weight_bits=b)) for b in BITS
            ]
            assert all(a <= b * 1.02 + 16 for a, b in zip(sizes, sizes[1:], strict=False))
            assert sizes[0] < sizes[-1] / 4
        bare = cost.of_layer(layer, Choice.of(weight_bits=4))
        assert cost.of_layer(layer, Choice.of(weight_bits=4, activation_bits=8)) == bare + 6


@pytest.mark.parametrize("name", COUNTED)
def test_both_roundings_of_the_side_count_what_is_frozen(name: str, tiny_net: nn.Module) -> None:
    every, kept = store_of(tiny_net), store_of(tiny_net, ("6",))
    cost, other = make_cost(name, every), make_cost(name, kept)
    assert cost.reference == other.reference
    share = cost.of_layer(every.network.layer("6"), NEUTRAL)
    if name == "size":  # deflated where it is kept; biases and norms are rounded all the same
        assert other.fixed(16) - cost.fixed(16) == pytest.approx(share, rel=0.12)
    else:
        assert other.fixed(16) == cost.fixed(16) + share


def test_params_by_hand() -> None:
    store = store_of(by_hand())
    cost = make_cost("params", store)
    conv, linear = store.network.layers
    assert cost.reference == 54 + 2 + 24 + 3 and cost.fixed(16) == cost.fixed(32) == 5
    assert cost.of_layer(conv, Choice.of(sparsity=0.5)) == 27
    assert cost.of_layer(linear, Choice.of(pattern="1:4", weight_bits=2)) == 3 * 2


def test_macs_by_hand() -> None:
    store = store_of(by_hand())
    cost = make_cost("macs", store)
    conv, linear = store.network.layers
    assert cost.reference == 3456 + 24 and cost.fixed(16) == 0
    assert cost.of_layer(conv, Choice.of(sparsity=0.25)) == 64 * (
        54 - 14
    )  # 13.5 rounds to the even 14
    assert cost.of_layer(linear, Choice.of(sparsity=0.5)) == 12
    assert make_cost("macs", store_of(by_hand(), ("0",))).fixed(32) == 3456
    plan = Plan({"0": Choice.of(sparsity=0.5), "3": Choice.of(pattern="2:4")})
    assert total(cost, store.network, plan) == 1728 + 12


def test_macs_are_rounded_up() -> None:
    uneven = LayerSpec("a", "a", "linear", (1, 3), 0, 1, 1, 1, 100, 1, True, False)
    cost = make_cost("macs", store_of(by_hand()))
    assert cost.of_layer(uneven, Choice.of(sparsity=0.3333)) == 67  # 66.7
    assert cost.of_layer(uneven, Choice.of(sparsity=0.9)) == 34  # 33.3


def test_bitops_by_hand() -> None:
    store = store_of(by_hand())
    cost = make_cost("bitops", store)
    conv, linear = store.network.layers
    assert cost.reference == (3456 + 24) * 32 * 32
    assert cost.of_layer(conv, Choice.of(weight_bits=4, activation_bits=8)) == 3456 * 4 * 8
    assert cost.of_layer(conv, Choice.of(sparsity=0.5, weight_bits=4)) == 1728 * 4 * 32
    assert cost.of_layer(linear, Choice.of(pattern="2:4", activation_bits=2)) == 12 * 32 * 2
    assert make_cost("bitops", store_of(by_hand(), ("0",))).fixed(16) == 3456 * 1024


def test_an_unknown_cost(tiny_net: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="no cost named 'sizes'. Did you mean 'size'"):
        make_cost("sizes", store_of(tiny_net))
