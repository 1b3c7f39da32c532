"""Error curves: every choice of a layer in order, what undercuts what, and marginal prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocomp.allocation.pareto import pareto_front
from autocomp.inspection.curve import CurvePoint, ErrorCurve, costs_at, error_curves
from autocomp.inspection.price import Price, prices

FULL = "full:channel_levels=3,levels=3,weight_bits=2/8"


def front_by_hand(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The pairs that no other one undercuts, each once."""
    kept = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}
    return sorted(kept)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0, 2.0])),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_the_front_is_what_no_other_choice_undercuts(points: list[tuple[int, float]]) -> None:
    costs = np.array([[cost] for cost, _ in points], np.int64)
    losses = np.array([loss for _, loss in points])
    front = pareto_front(*costs.T, losses).tolist()
    assert [points[i] for i in front] == front_by_hand(points)
    assert all(points.index(points[i]) == i for i in front)  # the first of equals


def test_a_curve_holds_the_tables_of_a_separable_menu(menu_of: Any) -> None:
    feasible = menu_of()
    rng = np.random.default_rng(0)
    indices = feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), feasible.vector.width)))
    assert indices != feasible.allocation.plan
    curves = error_curves(feasible, indices)
    assert [curve.layer for curve in curves] == [layer.name for layer in feasible.layers]
    for t, curve in enumerate(curves):
        choices = [str(choice) for choice in feasible.choices[t]]
        costs = feasible.allocation.costs[t][:, 0].tolist()
        tables = zip(choices, costs, feasible.losses[t].tolist(), strict=True)
        assert sorted((p.choice, p.cost, p.loss) for p in curve.points) == sorted(tables)
        pairs = [(p.cost, p.loss) for p in curve.points]
        assert pairs == sorted(pairs)
        assert [pairs[i] for i in curve.front] == front_by_hand(pairs)
        assert curve.chosen is not None
        assert curve.points[curve.chosen].choice == choices[indices[t]]
        assert curve.points[curve.solver].choice == choices[feasible.allocation.plan[t]]


@pytest.mark.parametrize(
    ("space", "budgets"), [("structured:levels=5", "macs=50%"), (FULL, "size=20%,macs=60%")]
)
def test_costs_of_coupled_layers_are_differences_of_whole_plans(
    menu_of: Any, space: str, budgets: str
) -> None:
    feasible = menu_of(space, budgets)
    indices = feasible.allocation.plan
    for t, choices in enumerate(feasible.choices):
        totals = [
            int(feasible.allocation.total([*indices[:t], i, *indices[t + 1 :]])[0])
            for i in range(len(choices))
        ]
        assert costs_at(feasible, indices, t).tolist() == [x - min(totals) for x in totals]
    curves = error_curves(feasible, indices)
    assert all(curve.points[0].cost == 0 for curve in curves)
    assert all(curve.chosen == curve.solver for curve in curves)
    assert [len(curve.points) for curve in curves] == [len(c) for c in feasible.choices]


# ---- prices: A (10, 1.0), B (20, 0.6), C (25, 0.7) undercut by B, D (40, 0.1)

POINTS = tuple(
    CurvePoint(name, cost, loss)
    for name, cost, loss in (("A", 10, 1.0), ("B", 20, 0.6), ("C", 25, 0.7), ("D", 40, 0.1))
)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (0, (None, "B", 10, 0.4)),
        (1, (0.04, "D", 20, 0.5)),
        (2, (0.02, "D", 15, 0.6)),  # off the front: B costs less and loses less, so A is below
        (3, (0.025, "", 0, 0.0)),
    ],
)
def test_prices_in_closed_form(chosen: int, expected: tuple[Any, ...]) -> None:
    (price,) = prices([ErrorCurve("l", POINTS, (0, 1, 3), chosen, 0)])
    saved, name, cost, saving = expected
    assert price.layer == "l"
    assert price.saved == (None if saved is None else pytest.approx(saved))
    assert (price.next_choice, price.next_cost) == (name, cost)
    assert price.next_saving == pytest.approx(saving)


def test_a_layer_off_its_curve_has_no_price() -> None:
    curves = [ErrorCurve("a", POINTS, (0, 1, 3), None, 0), ErrorCurve("b", POINTS[:1], (0,), 0, 0)]
    assert prices(curves) == (Price("b", None, "", 0, 0.0),)


def test_no_single_unit_is_worth_moving_in_the_solvers_plan(menu_of: Any) -> None:
    """The least that a layer gives back costs no less than what the rest of the budget buys."""
    feasible = menu_of()
    left = int(
        feasible.allocation.limits[0] - feasible.allocation.total(feasible.allocation.plan)[0]
    )
    for price in prices(error_curves(feasible, feasible.allocation.plan)):
        assert not price.next_choice or price.next_cost > left
        assert price.saved is None or price.saved >= 0
