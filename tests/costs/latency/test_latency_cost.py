"""Latency as a cost: the contract, with made-up measurements; once with onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autocomp.compression.store import CompressionStore
from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.costs.base import Cost, total
from autocomp.costs.latency import INT8, Geometry, LatencyTable, Machine, Precision
from autocomp.costs.latency.cost import Latency
from autocomp.errors import LayerError, ModelError
from autocomp.network.analysis import analyse
from autocomp.runtime import is_available

CODES = Choice.of(weight_bits=8, activation_bits=8, output_bits=8)
SHARE = 10**6


def by_hand(geometry: Geometry, precision: Precision) -> int:
    """A nanosecond per weight and position; a quarter of it in int8, and 20 for rounding."""
    vectors = 1
    for size in geometry.spatial:
        vectors *= size
    window = 1
    for size in geometry.kernel:
        window *= size
    work = vectors * window * geometry.inputs * geometry.outputs // geometry.groups
    return work // 4 + 20 if precision == INT8 else work


def latency_of(
    model: nn.Module,
    whole: Callable[[], int] | None = None,
    keep: tuple[str, ...] = (),
    example: torch.Tensor | None = None,
    root: Path | None = None,
) -> tuple[Latency, CompressionStore]:
    example = torch.rand(2, 3, 8, 8) if example is None else example
    store = CompressionStore(model, analyse(model, example, keep))
    table = LatencyTable(root, machine=Machine("made-up", "none 0", 1), measure=by_hand)
    return Latency(store, None, table, whole=whole), store


def two() -> nn.Module:
    """By `by_hand` 64 positions of 54 weights, and 32 weights."""
    return nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 4)
    )


def test_by_hand() -> None:
    cost, store = latency_of(two(), lambda: 10_000)
    conv, linear = store.network.layers
    assert cost.of_layer(conv, NEUTRAL) == 64 * 54 and cost.of_layer(linear, NEUTRAL) == 32
    assert cost.reference == 10_000 and cost.fixed(16) == cost.fixed(32) == 10_000 - 3456 - 32
    assert cost.of_layer(conv, CODES) == 864 + 20
    assert cost.of_layer(conv, CODES.replace(output_bits=32)) == 3456  # its outputs are floats
    assert cost.of_layer(linear, CODES) == 8 + 20
    assert cost.of_layer(conv, Choice.of(weight_bits=4)) == 3456  # floating inputs
    assert cost.of_layer(conv, Choice.of(sparsity=0.9)) == 3456  # zeros change nothing


def test_the_contract(tiny_net: nn.Module) -> None:
    for whole in (lambda: 10**6, lambda: 777, None):
        cost, store = latency_of(tiny_net, whole)
        kept_cost: Cost = cost
        assert kept_cost.unit == "ns"
        network = store.network
        assert total(cost, network, network.neutral_plan()) == cost.reference
        numbers = [cost.reference, cost.fixed(16), cost.fixed(32)]
        for layer in network.layers:
            narrower = [
                cost.of_layer(layer, Choice.of(sparsity=0.5, weight_bits=b, activation_bits=8))
                for b in BITS
            ]
            inputs = [
                cost.of_layer(layer, Choice.of(sparsity=0.5, weight_bits=4, activation_bits=b))
                for b in BITS
            ]
            assert narrower == sorted(narrower) and inputs == sorted(inputs)
            assert len({cost.of_layer(layer, Choice.of(sparsity=s / 9)) for s in range(9)}) == 1
            numbers += narrower
        assert all(type(number) is int and number >= 0 for number in numbers)


def test_layers_that_take_longer_than_the_network_are_scaled(tiny_net: nn.Module) -> None:
    free, store = latency_of(tiny_net)
    tight, _ = latency_of(tiny_net, lambda: free.reference // 2)
    assert tight.reference == free.reference // 2
    for layer in store.network.layers:
        share = free.of_layer(layer, NEUTRAL) / 2
        assert share - 1 <= tight.of_layer(layer, NEUTRAL) <= share
    assert 0 <= tight.fixed(32) <= len(store.network.layers)


def test_int8_never_counts_more_than_float() -> None:
    """Rounding its input makes a small layer slower; it would be run in float32."""
    model = nn.Sequential(nn.Linear(2, 3))
    cost, store = latency_of(model, example=torch.rand(1, 2))
    assert cost.of_layer(store.network.layers[0], CODES) == 6


def test_kept_layers_are_fixed(tiny_net: nn.Module) -> None:
    every, store = latency_of(tiny_net, lambda: SHARE)
    kept, _ = latency_of(tiny_net, lambda: SHARE, ("6",))
    share = every.of_layer(store.network.layer("6"), NEUTRAL)
    assert share > 0 and kept.reference == every.reference
    assert kept.fixed(16) == every.fixed(16) + share


def test_a_sliced_layer_costs_less() -> None:
    cost, store = latency_of(two(), lambda: 10_000)
    conv, linear = store.network.layers
    small = replace(conv, shape=(1, 3, 3, 3))
    assert cost.of_layer(small, NEUTRAL) == cost.of_geometry(conv, NEUTRAL, 3, 1) == 64 * 27
    # between four and six inputs of eight
    assert cost.of_geometry(linear, NEUTRAL, 5, 4) == 20
    with pytest.raises(LayerError, match="got 9 -> 4"):
        cost.of_geometry(linear, NEUTRAL, 9, 4)


def test_layers_without_a_geometry_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.tied = nn.Linear(4, 4)
            self.dead = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.tied(self.tied(self.embedding(x)))
            return out

    cost, store = latency_of(Odd(), example=torch.zeros(2, 3, dtype=torch.long))
    assert set(cost.unmeasured) == {"embedding", "dead"}
    layers = (*store.network.layers, *store.network.frozen)
    assert [cost.of_layer(x, NEUTRAL) for x in layers] == [0, 2 * 48, 0]
    with pytest.raises(LayerError, match="no layer named 'dear'. Did you mean 'dead'"):
        cost.of_layer(replace(layers[2], name="dear"), NEUTRAL)


def test_a_network_is_timed_once_per_machine(tmp_path: Path) -> None:
    model = two()
    first, _ = latency_of(model, lambda: 10_000, root=tmp_path)
    assert first.reference == 10_000
    again, _ = latency_of(two(), lambda: 20_000, root=tmp_path)  # other weights, same shapes
    assert again.reference == 10_000
    model[1] = nn.GELU()
    changed, _ = latency_of(model, lambda: 20_000, root=tmp_path)
    assert changed.reference == 20_000


def test_nothing_is_loaded_before_the_first_number(
    tiny_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    store = CompressionStore(tiny_net, analyse(tiny_net, torch.rand(2, 3, 8, 8)))
    cost = Latency(store)
    with pytest.raises(ModelError, match=r"pip install 'autocomp\[onnx\]'"):
        cost.reference  # noqa: B018


@pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
def test_with_onnxruntime(tmp_path: Path) -> None:
    model, x = two(), torch.rand(2, 3, 8, 8)
    store = CompressionStore(model, analyse(model, x))
    cost = Latency(store, x, LatencyTable(tmp_path, repeats=3))
    neutral = store.network.neutral_plan()
    assert total(cost, store.network, neutral) == cost.reference > 0
    assert total(cost, store.network, Plan({name: CODES for name in neutral})) <= cost.reference
    again = Latency(store, x, LatencyTable(tmp_path, repeats=3))
    assert again.reference == cost.reference and again.fixed(32) == cost.fixed(32)
