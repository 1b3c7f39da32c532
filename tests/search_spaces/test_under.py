"""The same problem and menu under other budgets: losses shared, everything else as if new."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.search_spaces import FeasibleSpace, feasible_space

from autocomp.core.budget import Budget
from autocomp.errors import BudgetError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

JOINT = "joint:levels=6,weight_bits=2/4/8"
COEFFICIENTS = "coefficients:menu=joint,levels=6,weight_bits=2/4/8"
CASES = [
    (JOINT, "size=60%", "size=9%"),
    (JOINT, "size=9%", "size=60%"),
    (JOINT, "size=60%", "size=30%,macs=60%"),
    (JOINT, "size=30%,macs=60%", "size=9%"),
    (COEFFICIENTS, "size=60%", "size=9%"),
    (COEFFICIENTS, "size=9%", "bitops=5%"),
    ("structured:levels=4", "macs=60%", "macs=40%"),
    ("structured:levels=4", "macs=60%", "size=60%,params=70%"),
]


@pytest.fixture(scope="module")
def base(_trained_tiny: Any, tiny_data: Any) -> CompressionProblem:
    return CompressionProblem(
        copy.deepcopy(_trained_tiny), tiny_data, "size=60%", ProblemSettings(search_images=40)
    )


def random_plans(feasible: FeasibleSpace, n: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [
        feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), feasible.vector.width)))
        for _ in range(n)
    ]


def facts(feasible: FeasibleSpace) -> list[Any]:
    """What a menu says of its budgets."""
    feasibility = feasible.allocation
    prefixes: list[list[int]] = [[], feasible.allocation.plan[:1], feasible.allocation.plan[:2]]
    return [
        feasibility.limits.tolist(),
        feasibility.cheapest.tolist(),
        feasibility.dearest.tolist(),
        [feasibility.mask(prefix).tolist() for prefix in prefixes],
        [feasibility.mask(prefix, False).tolist() for prefix in prefixes],
        feasible.allocation.plan,
        feasible.names.even(),
        random_plans(feasible, 4),
    ]


@pytest.mark.parametrize(("space", "before", "after"), CASES)
def test_a_menu_under_other_budgets_is_one_made_anew(
    base: CompressionProblem, space: str, before: str, after: str
) -> None:
    feasible = feasible_space(base.under(before), space)
    known = facts(feasible)
    other = feasible.under(after.split(","))
    assert type(other) is type(feasible)
    pairs = zip(other.losses, feasible.losses, strict=True)
    assert all(one is two for one, two in pairs)  # measured once
    new = feasible_space(base.under(after), space)
    assert facts(other) == facts(new)
    assert other.problem.limits == new.problem.limits != feasible.problem.limits
    assert facts(feasible) == known  # the menu itself is as it was
    assert facts(other.under(before.split(","))) == known  # and back again


@pytest.mark.parametrize("space", [JOINT, COEFFICIENTS])
def test_actions_that_are_remembered_are_not_shared(base: CompressionProblem, space: str) -> None:
    feasible = feasible_space(base, space)
    plan = feasible.allocation.plan
    assert feasible.actions.whole_action(plan) is not None
    rows = np.full((len(feasible), feasible.vector.width), 0.7)
    tight, loose = feasible.under(["size=9%"]), feasible.actions.fit(rows)
    feasible.actions.walk(rows)
    feasible.actions.whole_action(loose)
    found = tight.actions.fit(rows)
    assert tight.allocation.meets(found) and not tight.allocation.meets(loose)
    assert tight.names._meant == {}
    if space == COEFFICIENTS:
        mine, others = vars(tight.actions), vars(feasible.actions)
        assert mine["_walked"] == {} and list(mine["_made"]) == [tuple(found)]
        assert tuple(loose) in others["_made"] and tuple(found) not in others["_made"]


def test_losses_are_measured_before_a_space_is_copied(base: CompressionProblem) -> None:
    feasible = feasible_space(base, JOINT)
    assert "losses" not in vars(feasible.allocation)
    first, second = feasible.under(["size=9%"]), feasible.under(["size=12%"])
    assert "losses" in vars(feasible.allocation)
    for one, two, three in zip(first.losses, second.losses, feasible.losses, strict=True):
        assert one is two is three


def test_a_budget_out_of_reach_leaves_the_menu_alone(base: CompressionProblem) -> None:
    feasible = feasible_space(base, JOINT)
    limits = feasible.allocation.limits.tolist()
    with pytest.raises(BudgetError, match=r"reaches [\d,]+ bytes at least") as caught:
        feasible.under(["size=1%"])
    assert "\n" not in str(caught.value)
    assert feasible.allocation.limits.tolist() == limits
    assert feasible.problem is base


def test_coupled_menus_settle_under_their_own_budget(base: CompressionProblem) -> None:
    feasible = feasible_space(base, "full:channel_levels=3,levels=3,weight_bits=2/8")
    tight = feasible.under(["size=12%"])
    assert not tight.allocation.separable and not feasible.allocation.separable
    for indices in (tight.allocation.plan, *random_plans(tight, 3)):
        size = tight.problem.costs_of(tight.plan(indices))["size"]
        assert size <= tight.problem.limits["size"] < feasible.problem.limits["size"]
    assert tight.allocation is not feasible.allocation


# ---- the problem


def test_a_problem_under_other_budgets_shares_all_but_outcomes(base: CompressionProblem) -> None:
    plan = feasible_space(base, JOINT).plan(feasible_space(base, JOINT).allocation.plan)
    first = base.evaluate(plan)
    known = (base.budgets, dict(base.limits), dict(base._memo))
    other = base.under("size=1kB,macs=50%")
    assert [str(b) for b in other.budgets] == ["size=1000", "macs=50%"]
    assert other.limits == {"size": 1000, "macs": base.costs["macs"].reference // 2}
    assert not other.known(plan) and base.known(plan)
    again = other.evaluate(plan)
    assert (again.accuracy, again.divergence) == (first.accuracy, first.divergence)
    assert again.costs == first.costs
    assert first.within_budget and not again.within_budget
    assert base.is_within(plan) and not other.is_within(plan)
    assert (base.budgets, base.limits) == known[:2]
    assert base._memo == known[2]
    assert other.store is base.store and other.dense_score() is base.dense_score()


@pytest.mark.parametrize("given", ["size=10%", Budget("size", 0.1, True), ["size=10%"]])
def test_budgets_are_given_in_any_way(base: CompressionProblem, given: Any) -> None:
    assert base.under(given).limits == {"size": base.costs["size"].reference // 10}


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ("latency=50%", r"must be of .*size.*, but got 'latency'"),
        ("sise=50%", "but got 'sise'"),
        ("size=50%,latency=2ms", "but got 'latency'"),
        ("size=120%", "at most 100 %"),
        ("", "at least one budget"),
    ],
)
def test_costs_that_are_not_known_are_refused(
    base: CompressionProblem, budgets: str, words: str
) -> None:
    with pytest.raises(BudgetError, match=words) as caught:
        base.under(budgets)
    assert "\n" not in str(caught.value)
    assert base.limits == {"size": base.costs["size"].reference * 6 // 10}


# ---- outputs


def test_outputs_of_the_neutral_plan_are_the_dense_ones(base: CompressionProblem) -> None:
    neutral = base.network.neutral_plan()
    for fidelity, n in (("F1", 40), ("F2", 120)):
        dense, compressed = base.outputs(neutral, fidelity)
        assert dense.shape == compressed.shape == (n, 4)
        assert torch.allclose(dense, compressed, atol=1e-5)
    images, labels = base.data.search.batch(slice(None))
    with torch.inference_mode():
        expected = base.store.model(images)
    assert torch.allclose(base.outputs(neutral)[0], expected, atol=1e-5)  # in the split's order
    assert (dense.argmax(1) == labels).float().mean() == base.dense_score("F2").accuracy


@pytest.mark.parametrize("fidelity", ["F1", "F2", "F2S"])
def test_outputs_are_those_that_were_judged(base: CompressionProblem, fidelity: str) -> None:
    feasible = feasible_space(base, JOINT).under(["size=9%"])
    problem, plan = feasible.problem, feasible.plan(feasible.allocation.plan)
    dense, compressed = problem.outputs(plan, fidelity)
    assert not problem.known(plan, fidelity)  # nothing is remembered
    outcome = problem.evaluate(plan, fidelity)
    logs = [torch.log_softmax(x.double(), 1) for x in (dense, compressed)]
    divergence = float((logs[0].exp() * (logs[0] - logs[1])).sum(1).mean())
    assert outcome.divergence == pytest.approx(divergence, rel=1e-4)
    assert outcome.divergence > 0
    with torch.inference_mode():
        images, _ = problem.data.search.batch(slice(None))
        if fidelity != "F1":
            again = problem.compressed(plan, fidelity)[0](images)
            assert torch.allclose(again, compressed, atol=1e-4)
