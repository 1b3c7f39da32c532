from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autocomp.allocation.completions import FRONT, FRONT_OF_TWO, Completions
from autocomp.errors import BudgetError

Costs = list[NDArray[np.int64]]


@st.composite
def instances(draw: st.DrawFn) -> tuple[Costs, NDArray[np.int64]]:
    """Up to 5 layers of up to 4 choices, 1 to 3 budgets, limits from hopeless to generous."""
    budgets = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    vector = st.lists(st.integers(0, 12), min_size=budgets, max_size=budgets)
    costs = [
        np.array(draw(st.lists(vector, min_size=size, max_size=size)), np.int64) for size in sizes
    ]
    least = np.sum([c.min(0) for c in costs], axis=0)
    most = np.sum([c.max(0) for c in costs], axis=0)
    limits = [draw(st.integers(int(low) - 1, int(high))) for low, high in zip(least, most)]  # noqa: B905
    return costs, np.array(limits, np.int64)


def plans(costs: Costs) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(len(c)) for c in costs))


def total(costs: Costs, plan: tuple[int, ...]) -> NDArray[np.int64]:
    spent = np.zeros(costs[0].shape[1], np.int64)
    for layer, choice in enumerate(plan):
        spent = spent + costs[layer][choice]
    return spent


def can_finish(
    costs: Costs, limits: NDArray[np.int64], used: NDArray[np.int64], step: int
) -> list[bool]:
    """By trying every completion: which choices of layer `step` some completion follows."""
    found = []
    for choice in costs[step]:
        rest = itertools.product(*costs[step + 1 :])
        found.append(any((used + choice + sum(after) <= limits).all() for after in rest))
    return found


@settings(max_examples=300)
@given(instances())
def test_masks_are_exact_after_every_prefix(
    instance: tuple[Costs, NDArray[np.int64]],
) -> None:
    """Also after prefixes that cannot be finished: there the mask is empty, and says so."""
    costs, limits = instance
    searched = Completions(costs, limits)
    for step in range(len(costs)):
        for prefix in itertools.product(*(range(len(c)) for c in costs[:step])):
            used = total(costs, prefix)
            expected = can_finish(costs, limits, used, step)
            if any(expected):
                assert searched.mask(step, used).tolist() == expected
            else:
                with pytest.raises(BudgetError, match="No choice is left"):
                    searched.mask(step, used)


@settings(max_examples=300)
@given(instances())
def test_possible_and_totals(instance: tuple[Costs, NDArray[np.int64]]) -> None:
    costs, limits = instance
    searched = Completions(costs, limits)
    totals = {plan: total(costs, plan) for plan in plans(costs)}
    meets = {plan: bool((spent <= limits).all()) for plan, spent in totals.items()}
    assert searched.possible == any(meets.values())
    for plan, spent in totals.items():
        assert searched.total(plan).tolist() == spent.tolist()
        assert searched.meets(plan) == meets[plan]
    every = np.array(list(totals.values()))
    assert searched.cheapest.tolist() == every.min(0).tolist()
    assert searched.dearest.tolist() == every.max(0).tolist()
    for step in range(len(costs)):
        rest = [sum(after) for after in itertools.product(*costs[step:])]
        cheapest, dearest = searched.bounds(step)
        assert cheapest.tolist() == np.min(rest, axis=0).tolist()
        assert dearest.tolist() == np.max(rest, axis=0).tolist()


@given(instances(), st.floats(0, 1), st.randoms(use_true_random=False))
def test_every_walk_ends_within_the_budgets(
    instance: tuple[Costs, NDArray[np.int64]], floor: float, random: object
) -> None:
    costs, limits = instance
    searched = Completions(costs, limits, floor)
    assume(searched.possible)
    used = np.zeros_like(limits)
    plan = []
    for step in range(len(costs)):
        allowed = np.flatnonzero(searched.mask(step, used))
        assert len(allowed)
        plan.append(int(random.choice(allowed.tolist())))  # type: ignore[attr-defined]
        used = used + costs[step][plan[-1]]
    assert (used <= limits).all() and searched.meets(plan)


@given(instances(), st.floats(0.01, 1))
def test_the_lower_wall(instance: tuple[Costs, NDArray[np.int64]], floor: float) -> None:
    """It leaves out what must stay below the floor in every budget, unless that is everything."""
    costs, limits = instance
    searched = Completions(costs, limits, floor)
    for step in range(len(costs)):
        for prefix in itertools.product(*(range(len(c)) for c in costs[:step])):
            used = total(costs, prefix)
            feasible = can_finish(costs, limits, used, step)
            if not any(feasible):
                continue
            dearest = np.sum([c.max(0) for c in costs[step + 1 :]], axis=0)
            reaches = [(used + c + dearest >= floor * limits).any() for c in costs[step]]
            near = [bool(a and b) for a, b in zip(feasible, reaches, strict=True)]
            expected = near if any(near) else feasible
            assert searched.mask(step, used).tolist() == expected
            assert searched.mask(step, used, enforce_utilisation=False).tolist() == feasible


def test_by_hand() -> None:
    """Two layers, two budgets: 3 + 4 meets both, each other pair breaks one."""
    costs = [np.array([[1, 9], [3, 3]]), np.array([[9, 1], [4, 4]])]
    searched = Completions(costs, np.array([7, 7]))
    assert searched.possible
    assert searched.mask(0, np.array([0, 0])).tolist() == [False, True]
    assert searched.mask(1, np.array([3, 3])).tolist() == [False, True]
    assert searched.cheapest.tolist() == [5, 4] and searched.dearest.tolist() == [12, 13]
    assert not Completions(costs, np.array([6, 7])).possible
    assert not Completions(costs, np.array([5, 4])).possible  # each alone is in reach


def test_negative_limits_are_impossible() -> None:
    searched = Completions([np.array([[0], [1]])], np.array([-1]))
    assert not searched.possible
    with pytest.raises(BudgetError, match="start the plan again"):
        searched.mask(0, np.array([0]))


def opposed(layers: int) -> Costs:
    """Two costs of which one falls as the other rises: every plan is on the front."""
    steps = np.arange(4)
    return [np.stack([steps * 4**i, (3 - steps) * 4**i], 1) for i in range(layers)]


def test_a_front_too_long_to_keep_loses_no_plan_that_a_mask_finds() -> None:
    costs = opposed(5)  # 1,024 plans (s, 1023 - s)
    for spent in range(0, 1024, 7):
        assert Completions(costs, np.array([spent, 1023 - spent])).possible
    assert not Completions(costs, np.array([500, 522])).possible


@given(st.integers(0, 4**7 - 1), st.integers(0, 400), st.randoms(use_true_random=False))
def test_a_thinned_front_never_promises_too_much(spent: int, spare: int, random: object) -> None:
    costs = opposed(7)
    limits = np.array([spent + spare, 4**7 - 1 - spent + spare])
    searched = Completions(costs, limits)
    assume(searched.possible)
    used = np.zeros(2, np.int64)
    for step, layer in enumerate(costs):
        allowed = np.flatnonzero(searched.mask(step, used)).tolist()
        used = used + layer[random.choice(allowed)]  # type: ignore[attr-defined]
    assert (used <= limits).all()


def test_the_ends_of_a_thinned_front_stay() -> None:
    searched = Completions(opposed(7), np.array([0, 4**7 - 1]))
    assert searched.possible
    assert Completions(opposed(7), np.array([4**7 - 1, 0])).possible
    assert FRONT < 4**6 and FRONT_OF_TWO < 4**7  # else nothing was thinned
    assert searched.bounds(0)[0].tolist() == [0, 0]


def test_a_third_cost_that_is_least_amid_a_thinned_front() -> None:
    free = [1, 2, 1, 1, 2, 1, 2]  # the choice of each layer that costs nothing of it
    costs = [np.c_[c, np.abs(np.arange(4) - free[i]) * 4**i] for i, c in enumerate(opposed(7))]
    spent = sum(choice * 4**i for i, choice in enumerate(free))
    searched = Completions(costs, np.array([spent, 4**7 - 1 - spent, 0]))
    assert searched.possible and searched.bounds(0)[0].tolist() == [0, 0, 0]
