"""Differences from the solver's plan, on a problem whose loss is a sum over layers."""

from __future__ import annotations

from typing import Any

import pytest
from autocomp.search_spaces import FeasibleSpace, make_space

import autocomp.inspection.ablation as module
from autocomp.inspection.ablation import ablations

SPACE = "bits:weight_bits=2/3/4/6/8"


def menu_of(toy: Any) -> FeasibleSpace:
    return FeasibleSpace.build(toy, make_space(SPACE))


def moved(feasible: FeasibleSpace, **steps: int) -> list[int]:
    """The solver's plan with some layers moved along their menus."""
    names = [layer.name for layer in feasible.layers]
    indices = list(feasible.allocation.plan)
    for name, step in steps.items():
        t = names.index(name)
        indices[t] = min(max(indices[t] + step, 0), len(feasible.choices[t]) - 1)
        assert indices[t] != feasible.allocation.plan[t]
    return indices


def test_the_solvers_own_plan_departs_nowhere(make_separable: Any) -> None:
    feasible = menu_of(make_separable("size=12%", informed=True))
    assert ablations(feasible, feasible.plan(feasible.allocation.plan)) == ()


def test_estimates_are_measured_where_they_are_right(make_separable: Any) -> None:
    toy = make_separable("size=12%", informed=True)
    feasible = menu_of(toy)
    indices = moved(feasible, l0=-1, l2=1)
    plan = feasible.plan(indices)
    found = ablations(feasible, plan)
    assert [d.layer for d in found] == ["l0", "l2"]
    for d in found:
        t = int(d.layer[1])
        own, back = (
            feasible.choices[t][indices[t]],
            feasible.choices[t][feasible.allocation.plan[t]],
        )
        assert (d.chosen, d.solver) == (str(own), str(back))
        assert d.divergence == pytest.approx(d.estimated)
        assert d.quality == pytest.approx(-d.estimated)
        other = plan.replace(d.layer, back)
        assert d.estimated == pytest.approx(toy.loss(plan) - toy.loss(other))
        assert d.cost == toy.cost(plan) - toy.cost(other)
        assert d.within_budget == (toy.cost(other) <= toy.limits["size"])
        assert other in toy.evaluated
    assert found[0].estimated > 0 > found[1].estimated  # fewer bits lose, more bits gain
    assert found[0].cost < 0 < found[1].cost
    assert len(toy.evaluated) == 3


def test_a_difference_that_pays_has_a_negative_divergence(make_separable: Any) -> None:
    """The estimates hold all layers for equally sensitive; the first is 40 times the second."""
    toy = make_separable("size=12%")
    feasible = menu_of(toy)
    by_layer = {
        d.layer: d for d in ablations(feasible, feasible.plan(moved(feasible, l0=1, l1=-1)))
    }
    assert by_layer["l0"].divergence == pytest.approx(8.0 * by_layer["l0"].estimated)
    assert by_layer["l1"].divergence == pytest.approx(0.2 * by_layer["l1"].estimated)
    assert by_layer["l0"].divergence < 0 < by_layer["l1"].divergence
    assert by_layer["l0"].quality > 0 > by_layer["l1"].quality


def test_the_largest_estimates_are_measured(
    make_separable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    toy = make_separable("size=12%", informed=True)
    feasible = menu_of(toy)
    plan = feasible.plan(moved(feasible, l0=1, l1=-1, l2=-1, l3=-1))  # the first one matters least
    found = ablations(feasible, plan)
    monkeypatch.setattr(module, "MOST", 24)
    everything = ablations(feasible, plan)
    assert len(everything) == 4
    largest = sorted(everything, key=lambda d: -abs(d.estimated))[:2]
    assert set(found) == set(largest)
    assert [d.layer for d in found] == sorted(d.layer for d in largest)  # in network order
    assert "l0" not in {d.layer for d in found}


def test_coupled_plans_are_put_back_layer_by_layer(menu_of: Any) -> None:
    feasible = menu_of("structured:levels=5", "macs=50%")
    indices = list(feasible.allocation.plan)
    leader = next(t for t, layer in enumerate(feasible.layers) if layer.units)
    indices[leader] = 0 if indices[leader] else 1
    (found,) = ablations(feasible, feasible.plan(indices))
    assert found.layer == feasible.layers[leader].name
    macs = [
        feasible.problem.costs_of(feasible.plan(x))["macs"]
        for x in (indices, feasible.allocation.plan)
    ]
    assert found.cost == macs[0] - macs[1]
    assert found.within_budget
