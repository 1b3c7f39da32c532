"""What a device counts: weights in memory, and energy, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from autocomp.search_spaces.bits import BitsSpace
from autocomp.search_spaces.feasible_space import FeasibleSpace
from autocomp.search_spaces.structured import FullSpace
from torch import nn

from autocomp.compression.store import CompressionStore
from autocomp.core.budget import Budget
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.costs import Energy, EnergyTable, WeightMemory, make_cost, total
from autocomp.data import load_data
from autocomp.errors import BudgetError
from autocomp.network.analysis import analyse
from autocomp.problem.problem import CompressionProblem


def store_of(model: nn.Module) -> CompressionStore:
    return CompressionStore(model, analyse(model, torch.rand(2, 3, 8, 8)))


@pytest.fixture
def net() -> nn.Module:
    """54 weights and 2 outputs on 64 positions; 128 inputs and 3 outputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.Flatten(),
        nn.Linear(128, 3),
    )  # fmt: skip


def test_weight_memory_by_hand(net: nn.Module) -> None:
    store = store_of(net)
    cost = WeightMemory(store)
    conv, linear = store.network.layers
    # a norm's four vectors and its counter of 8 bytes, and the bias
    assert cost.fixed(16) == cost.fixed(32) == 4 * 2 * 4 + 8 + 3 * 4
    assert cost.of_layer(conv, NEUTRAL) == 54 * 4
    assert cost.of_layer(linear, Choice.of(weight_bits=3)) == 384 * 3 // 8 + 3 * 4
    assert cost.of_layer(conv, Choice.of(weight_bits=3)) == 21 + 2 * 4  # 20.25 bytes
    assert cost.of_layer(conv, Choice.of(weight_bits=8, sparsity=0.9)) == 54 + 8  # zeros stay
    assert cost.reference == total(cost, store.network, store.network.neutral_plan())


def test_scales_never_make_a_layer_larger() -> None:
    store = store_of(nn.Conv2d(3, 8, 1, groups=1, bias=False))
    cost = WeightMemory(store)
    depthwise = store_of(nn.Sequential(nn.Conv2d(3, 3, 1, groups=3, bias=False)))
    (layer,) = depthwise.network.layers  # one weight a scale
    assert WeightMemory(depthwise).of_layer(layer, Choice.of(weight_bits=16)) == 12
    assert cost.of_layer(store.network.layers[0], Choice.of(weight_bits=16)) == 48 + 32


def test_half_precision_counts_two_bytes(net: nn.Module) -> None:
    store = store_of(net)
    halves = CompressionStore(net.half(), store.network)
    assert WeightMemory(halves).of_layer(store.network.layers[0], NEUTRAL) == 54 * 2


def test_energy_by_hand(net: nn.Module) -> None:
    table = EnergyTable(5.0, 0.64, 0.25, 2.0, 0.5)
    store = store_of(net)
    cost = Energy(store, table)
    conv, linear = store.network.layers
    # 64 positions * 54 products, each weight of 32 bits once, 192 inputs of 32 bits
    assert cost.of_layer(conv, NEUTRAL) == 64 * 54 * 5 + 54 * 32 * 2 + 192 * 32 // 2
    small = Choice.of(weight_bits=4, activation_bits=8)
    assert cost.of_layer(linear, small) == round(
        384 * (0.64 * 32 / 64 + 0.25) + 384 * 4 * 2 + 128 * 8 * 0.5 + 0.4999
    )
    assert cost.of_layer(linear, small.replace(sparsity=0.9)) == cost.of_layer(linear, small)
    assert cost.fixed(16) == 0
    assert cost.reference == sum(cost.of_layer(x, NEUTRAL) for x in (conv, linear))


def test_the_published_numbers() -> None:
    table = EnergyTable()
    assert table.mac(32, 8) == table.mac(8, 32) == pytest.approx(3.7 + 0.9)
    assert table.mac(8, 8) == pytest.approx(0.3)
    assert table.weight_bit * 32 == 640 and table.value_bit * 32 == 5
    assert table.mac(16, 16) == pytest.approx(0.9) and table.mac(1, 1) < table.mac(2, 2)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "chip.json"
    path.write_text(json.dumps({"float_mac": 2, "weight_bit": 1.5}))
    assert EnergyTable.read(path) == EnergyTable(float_mac=2, weight_bit=1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"float_mac": -1}', "`float_mac` must be picojoules, at least 0, but got -1"),
        ('{"float_mac": NaN}', "`float_mac` must be picojoules.*nan"),
        ('{"float_mac": "4"}', "`float_mac` must be picojoules.*'4'"),
        ('{"joules": 1}', "holds float_mac.*has 'joules'; leave it out"),
        ("[1]", "holds float_mac"),
        ("no", "must be a JSON file"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "chip.json"
    path.write_text(text)
    with pytest.raises(BudgetError, match=message):
        EnergyTable.read(path)
    with pytest.raises(BudgetError, match="must be a JSON file"):
        EnergyTable.read(tmp_path / "missing.json")


def test_budgets_of_both_are_met_together(net: nn.Module) -> None:
    images, labels = torch.randn(96, 3, 8, 8), torch.arange(96) % 3
    data = load_data(tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))
    cheap = Budget(lambda store: Energy(store, EnergyTable(weight_bit=1.0)), 0.3)
    problem = CompressionProblem(net.eval(), data, [Budget("weight_memory", 0.4), cheap])
    feasible = FeasibleSpace.build(problem, BitsSpace(activation_bits=(4, 8)))
    rng = np.random.default_rng(0)
    for _ in range(5):
        indices: list[int] = []
        for _ in problem.network.layers:
            indices.append(int(rng.choice(np.flatnonzero(feasible.mask(indices, False)))))
        costs = problem.costs_of(feasible.plan(indices))
        assert all(costs[name] <= limit for name, limit in problem.limits.items())


def test_they_are_found_by_name_and_unit(net: nn.Module) -> None:
    store = store_of(net)
    for name, kind in (("energy", Energy), ("weight_memory", WeightMemory)):
        assert isinstance(make_cost(name, store), kind)
    assert Budget.parse("energy=1.5uJ") == Budget("energy", 1_500_000, False)
    assert Budget.parse("weight_memory=2KiB") == Budget("weight_memory", 2048, False)
    with pytest.raises(BudgetError, match="unit uJ measures energy alone"):
        Budget.parse("size=5uJ")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_offered_plans_of_fewer_channels_and_ranks_meet_their_budget(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.PReLU(12), nn.Conv2d(12, 10, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(160, 3),
    ).to(dtype)  # fmt: skip
    images, labels = torch.randn(96, 3, 8, 8), torch.arange(96) % 3
    data = load_data(tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))
    problem = CompressionProblem(net.eval(), data, "weight_memory=24%")
    space = FullSpace(levels=0, channel_levels=4, ranks=3, weight_bits=(8, 32))
    feasible = FeasibleSpace.build(problem, space)
    rng = np.random.default_rng(0)
    for _ in range(8):
        indices: list[int] = []
        for _ in feasible.layers:
            indices.append(int(rng.choice(np.flatnonzero(feasible.mask(indices, False)))))
        real = problem.costs_of(feasible.plan(indices))["weight_memory"]
        assert real <= problem.limits["weight_memory"]
