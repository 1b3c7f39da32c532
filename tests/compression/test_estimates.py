"""Costly layers: menus from a sample of rows, made exact where plans want them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autocomp
from autocomp.artifacts.records import weight_bits
from autocomp.compression import estimates
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.estimates import ANCHORS, estimated, is_costly
from autocomp.compression.weights.pipeline import Pipeline
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.plan import Plan
from autocomp.costs import estimated_cost, layer_cost
from autocomp.data.splits import DataSplits
from autocomp.errors import BudgetError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

MENU = [
    Choice.of(sparsity=s / 20, weight_bits=b) for s in range(20) for b in (2, 3, 4, 6, 8)
]  # fmt: skip


@pytest.fixture
def all_costly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every layer's menu is estimated, from eight of its rows."""
    monkeypatch.setattr(estimates, "COSTLY", 0.0)
    monkeypatch.setattr(estimates, "ROWS", 8)
    yield


def spec(kind: str, shape: tuple[int, ...], **changes: Any) -> LayerSpec:
    values: dict[str, Any] = {
        "name": "l", "parameter": "l.weight", "kind": kind, "shape": shape, "out_axis": 0,
        "in_axis": 1, "groups": 1, "stride": 1, "macs": 1, "calls": 1, "quantizable_input": True,
        "bias": True, **changes,
    }  # fmt: skip
    return LayerSpec(**values)


def test_which_layers_are_costly() -> None:
    assert not is_costly(spec("conv", (64, 64, 3, 3)), 120)  # ResNet-20's largest
    assert is_costly(spec("conv", (128, 128, 3, 3)), 120)
    assert not is_costly(spec("conv", (128, 128, 3, 3)), 9)
    assert is_costly(spec("embedding", (50_000, 768)), 120)  # 4 GB of codes
    assert not is_costly(spec("embedding", (5_000, 64)), 120)
    assert not is_costly(spec("conv", (4096, 1, 3, 3), groups=4096), 120)
    assert not is_costly(spec("linear", (1024, 1024), calls=0), 120)


def test_estimates_are_near_what_the_options_are(
    tiny_net: nn.Module, tiny_data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=50%")
    problem.store.prepare([MENU] * 4)
    monkeypatch.setattr(estimates, "ROWS", 16)
    layer = problem.network.layer("6")  # 32 rows
    found = estimated(problem.store.dense(layer), MENU, problem.store.stats[layer.name], Pipeline())
    assert list(found) == MENU
    size = problem.costs["size"]
    for choice in MENU:
        exact = problem.store.error(layer, choice)
        assert found[choice].error == pytest.approx(exact, rel=0.5, abs=2e-4)
        assert found[choice].bits / 8 == pytest.approx(size.of_layer(layer, choice), rel=0.1)
    total = sum(problem.store.error(layer, choice) for choice in MENU)
    assert sum(e.error for e in found.values()) == pytest.approx(total, rel=0.15)


def test_a_large_embedding_is_estimated_from_many_of_its_rows() -> None:
    layer = spec("embedding", (30_000, 32))
    weight = torch.randn(30_000, 32, generator=torch.Generator().manual_seed(0))
    weight *= torch.linspace(0.5, 2, 30_000)[:, None]
    menu = [Choice.of(sparsity=s, weight_bits=b) for s in (0.0, 0.5, 0.8) for b in (2, 4, 8)]
    stats = LayerStatistics(layer)
    found = estimated(weight, menu, stats, Pipeline())
    for choice in (menu[0], menu[4], menu[8]):
        made = Pipeline().run(weight, choice, stats)
        assert made.quantized is not None
        error = float((made.weight - weight).square().sum() / weight.square().sum())
        assert found[choice].error == pytest.approx(error, rel=0.05)
        assert found[choice].bits == pytest.approx(weight_bits(made.quantized, choice), rel=0.05)


def test_all_rows_and_all_sparsities_are_exact(
    tiny_net: nn.Module, tiny_data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=50%")
    problem.store.prepare([MENU] * 4)
    for name, value in (("ROWS", 64), ("ANCHORS", 20)):
        monkeypatch.setattr(estimates, name, value)
    layer = problem.network.layer("6")
    found = estimated(problem.store.dense(layer), MENU, problem.store.stats[layer.name], Pipeline())
    for choice in MENU[::7]:
        assert found[choice].error == pytest.approx(problem.store.error(layer, choice), rel=1e-6)


def test_menus_without_a_grid_are_worked_out_where_nothing_lies_around() -> None:
    menu = [
        NEUTRAL, Choice.of(weight_bits=8), Choice.of(sparsity=0.5), Choice.of(pattern="2:4"),
        Choice.of(sparsity=0.7, weight_bits=3), Choice.of(pattern="2:4", weight_bits=4),
    ]  # fmt: skip
    assert estimates._anchors(menu) == menu
    grid = [*MENU, Choice.of(sparsity=0.525, weight_bits=5)]
    worked = estimates._anchors(grid)
    assert len(worked) == 5 * ANCHORS + 1 and grid[-1] in worked


def test_an_option_is_an_estimate_until_it_is_trusted(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=50%")
    store, size = problem.store, problem.costs["size"]
    store.prepare([MENU] * 4)
    assert set(store.estimated_layers) == {"0", "6", "10"}  # the depthwise one is cheap
    layer, choice = problem.network.layer("6"), Choice.of(sparsity=0.55, weight_bits=3)
    before, first = store.error(layer, choice), estimated_cost(size, layer, choice)
    exact = layer_cost(size, layer, choice)  # makes the option, and trusts nothing
    assert store.error(layer, choice) == before == store.first_error(layer, choice)
    assert estimated_cost(size, layer, choice) == first != exact
    assert store.trust([(layer, choice), (problem.network.layer("3"), choice)])
    assert store.error(layer, choice) != before == store.first_error(layer, choice)
    assert estimated_cost(size, layer, choice) == layer_cost(size, layer, choice) == exact
    assert not store.trust([(layer, choice)]) and len(store.trusted) == 1
    assert store.error(layer, NEUTRAL) == 0.0
    # inputs that are rounded add to either
    rounded = choice.replace(activation_bits=4)
    assert store.error(layer, rounded) > store.error(layer, choice)


@pytest.mark.parametrize("space", ["joint", "full:levels=4,channel_levels=4"])
def test_a_search_ends_in_a_file_that_fits(
    all_costly: None, space: str, tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    result = autocomp.search(
        tiny_net, tiny_data, "size=15%", space=space, agent="tpe", evaluations=6, report="none",
        cache="none", out=tmp_path / "r", finalists=1,
    )  # fmt: skip
    assert result.best.within_budget
    file = result.file.stat().st_size
    assert file <= result.best.costs["size"] <= result.summary.limits["size"]
    images = tiny_data.search.images
    assert torch.allclose(
        autocomp.load(result.file, model=tiny_net)(images), result.model(images), atol=1e-5
    )


def test_what_an_earlier_search_left_on_the_disk_changes_nothing(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    settings = ProblemSettings(cache=tmp_path)
    plans = []
    for _ in range(2):
        problem = CompressionProblem(tiny_net, tiny_data, "size=12%", settings)
        allocation = problem.allocation([MENU] * 4)
        plans.append(allocation.plan)
        costs = [int(c[i, 0]) for c, i in zip(allocation.costs, plans[-1], strict=True)]
        chosen = [MENU[i] for i in plans[-1]]
        assert costs == [
            layer_cost(problem.costs["size"], x, c)
            for x, c in zip(problem.network.layers, chosen, strict=True)
        ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("budget", ["size=12%", "size=8%", "size=6%"])
def test_the_refined_plan_is_about_as_good_as_that_of_whole_tables(
    budget: str, tiny_net: nn.Module, tiny_data: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CompressionProblem(tiny_net, tiny_data, budget)
    exact = whole.allocation([MENU] * 4)
    with monkeypatch.context() as patch:
        patch.setattr(estimates, "COSTLY", 0.0)
        patch.setattr(estimates, "ROWS", 16)
        rough = CompressionProblem(tiny_net, tiny_data, budget).allocation([MENU] * 4)
        found = rough.plan
    assert exact.meets(found)  # its options are made: by whole tables' sizes it fits, too
    assert exact.loss(found) <= 1.2 * exact.loss(exact.plan)


def test_prices_are_those_of_options_that_are_made_even_if_losses_made_them(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    menu = [Choice.of(sparsity=s, weight_bits=4) for s in (0.8, 0.3)]
    problem = CompressionProblem(tiny_net, tiny_data, "size=14%")
    allocation = problem.allocation([menu] * 4)
    for layer, costs, place in zip(
        problem.network.layers, allocation.costs, allocation.plan, strict=True
    ):
        assert int(costs[place, 0]) == layer_cost(problem.costs["size"], layer, menu[place])


def test_a_budget_is_not_refused_by_estimates(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    menu = [Choice.of(sparsity=s, weight_bits=b) for s in (0.9, 0.5) for b in (2, 8)]
    problem = CompressionProblem(tiny_net, tiny_data, "size=50%")
    cheapest = Plan(dict.fromkeys(problem.network.names, menu[0]))
    least = problem.costs_of(cheapest)["size"]
    fits = CompressionProblem(tiny_net, tiny_data, f"size={least + 2}")
    allocation = fits.allocation([menu] * 4)
    assert fits.is_within(cheapest) and allocation.plan == [0, 0, 0, 0]
    with pytest.raises(BudgetError, match=f"reaches {least:,} bytes at least"):
        CompressionProblem(tiny_net, tiny_data, f"size={least - 1}").allocation([menu] * 4)


def test_what_was_searched_before_changes_nothing(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    fresh = CompressionProblem(tiny_net, tiny_data, "size=7%").allocation([MENU] * 4)
    used = CompressionProblem(tiny_net, tiny_data, "size=10%")
    assert used.allocation([MENU] * 4).plan != fresh.plan
    assert used.under("size=7%").allocation([MENU] * 4).plan == fresh.plan


def test_inputs_bits_count_where_options_are_chosen_to_be_measured(
    all_costly: None, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    problem = CompressionProblem(tiny_net, tiny_data, "size=50%")
    menu = [Choice.of(weight_bits=b, activation_bits=a) for b in (2, 4, 8) for a in (2, 4, 8)]
    problem.store.prepare([menu] * 4)
    layer = problem.network.layer("6")
    first = [problem.store.first_error(layer, choice) for choice in menu]
    assert len(set(first)) == 9 and first == [problem.store.error(layer, c) for c in menu]
