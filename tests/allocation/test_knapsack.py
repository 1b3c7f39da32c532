"""The additive model and its solvers, against brute force and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocomp.allocation.dynamic_program import DynamicProgram
from autocomp.allocation.integer_program import IntegerProgram, solve
from autocomp.allocation.knapsack import Knapsack
from autocomp.allocation.separable import SeparableAllocation
from autocomp.allocation.solver import make_solver
from autocomp.errors import AutocompError, BudgetError

# one layer of two choices, one of three: 1 or 3 bytes, then 0, 2 or 5
COSTS = [np.array([[1], [3]]), np.array([[0], [2], [5]])]
LOSSES = [np.array([4.0, 1.0]), np.array([5.0, 1.5, 0.0])]


@st.composite
def models(draw: Any, budgets: int = 1, largest: int = 60) -> Knapsack:
    """Up to 6 layers with ties, zero costs and budgets from the tightest to the loosest."""
    n_layers = draw(st.integers(1, 6))
    costs, losses = [], []
    for _ in range(n_layers):
        n = draw(st.integers(1, 5))
        row = st.lists(st.integers(0, largest), min_size=budgets, max_size=budgets)
        costs.append(np.array(draw(st.lists(row, min_size=n, max_size=n)), np.int64))
        value = st.sampled_from([0.0, 0.5, 1.0]) | st.integers(0, 9999).map(lambda k: k / 1000)
        losses.append(np.array(draw(st.lists(value, min_size=n, max_size=n))))
    low = sum(c.min(0) for c in costs)
    high = sum(c.max(0) for c in costs)
    share = draw(st.floats(0, 1))
    return Knapsack(costs, losses, (low + share * (high - low)).astype(np.int64))


def plans(model: Knapsack) -> list[tuple[int, ...]]:
    everything = itertools.product(*(range(len(x)) for x in model.losses))
    return [p for p in everything if model.meets(p)]


def optimum(model: Knapsack) -> float:
    return min((model.loss(p) for p in plans(model)), default=np.inf)


@pytest.mark.parametrize(
    ("limit", "plan", "loss"),
    [(1, [0, 0], 9.0), (2, [0, 0], 9.0), (3, [0, 1], 5.5), (5, [1, 1], 2.5), (8, [1, 2], 1.0)],
)
def test_by_hand(limit: int, plan: list[int], loss: float) -> None:
    model = Knapsack(COSTS, LOSSES, [limit])
    for solver in (DynamicProgram(model), IntegerProgram(model)):
        assert solver.plan == plan
    assert model.loss(plan) == loss
    values = DynamicProgram(Knapsack(COSTS, LOSSES, [8])).value(0, np.arange(9))
    assert values[limit] == loss
    assert values[0] == np.inf


@settings(max_examples=150, deadline=None)
@given(models())
def test_the_program_is_brute_force(model: Knapsack) -> None:
    solver = DynamicProgram(model)
    assert model.meets(solver.plan)
    assert model.loss(solver.plan) == pytest.approx(optimum(model), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(models())
def test_the_integer_program_agrees(model: Knapsack) -> None:
    found = IntegerProgram(model).plan
    assert model.meets(found)
    assert model.loss(found) == pytest.approx(optimum(model), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(models(budgets=2, largest=3000))
def test_several_budgets_are_brute_force(model: Knapsack) -> None:
    best = optimum(model)
    if np.isinf(best):
        with pytest.raises(BudgetError, match="together"):
            solve(model)
        return
    found = make_solver(model).plan
    assert model.meets(found)
    assert model.loss(found) == pytest.approx(best, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(models(), st.integers(2, 12))
def test_thinning_stays_feasible(model: Knapsack, points: int) -> None:
    solver = DynamicProgram(model, points)
    assert model.meets(solver.plan)
    assert model.loss(solver.plan) >= optimum(model) - 1e-9
    assert all(len(costs) <= points + len(model) for costs, _ in solver._fronts)
    assert walk(solver, np.ones(len(model))) == solver.plan


@settings(max_examples=60, deadline=None)
@given(models())
def test_suffix_values_are_brute_force(model: Knapsack) -> None:
    solver = DynamicProgram(model)
    before = [0, *itertools.accumulate(int(c.min()) for c in model.costs)]
    for step in range(len(model)):
        every = itertools.product(*(range(len(x)) for x in model.losses[step:]))
        rest = model.rest(step, model.limits)
        spent, lost = np.array([(rest.total(i)[0], rest.loss(i)) for i in every]).T
        for left in range(int(model.limits[0]) - before[step] + 1):
            best = min(lost[spent <= left], default=np.inf)
            value = float(solver.value(step, np.array([left]))[0])
            assert value == pytest.approx(best, abs=1e-12)


def walk(solver: Any, multipliers: Any) -> list[int]:
    used = np.zeros_like(solver.model.limits)
    indices = []
    for t, m in enumerate(multipliers):
        indices.append(solver.choose(t, used, float(m)))
        used = used + solver.model.costs[t][indices[-1]]
    return indices


@settings(max_examples=60, deadline=None)
@given(models(), st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_any_multipliers_give_feasible_plans(model: Knapsack, logs: list[float]) -> None:
    solver = DynamicProgram(model)
    multipliers = np.exp(logs[: len(model)])
    walked = walk(solver, multipliers)
    assert model.meets(walked)
    whole = solver.reweighted(multipliers)
    assert model.meets(whole)
    again = model.reweighted(multipliers)
    assert again.loss(whole) == pytest.approx(optimum(again), abs=1e-9)
    assert solver.reweighted(np.full(len(model), 3.0)) == solver.plan
    used = np.zeros(1, np.int64)
    for t, index in enumerate(walked):
        interval = solver.interval(t, used, index)
        assert interval is not None
        low, high = interval
        assert low <= multipliers[t] * (1 + 1e-9) and multipliers[t] <= high * (1 + 1e-9)
        used = used + model.costs[t][index]


def test_intervals_by_hand() -> None:
    # 2 bytes more lower the first loss by 3, or the second by 3.5: at 3 bytes the first layer's
    # multiplier decides, and 3.5 / 3 is where both are worth the same
    solver = DynamicProgram(Knapsack(COSTS, LOSSES, [3]))
    nothing = np.zeros(1, np.int64)
    assert solver.interval(0, nothing, 0) == (0.0, pytest.approx(3.5 / 3))
    assert solver.interval(0, nothing, 1) == (pytest.approx(3.5 / 3), np.inf)
    dominated = Knapsack([np.array([[1], [2]])], [np.array([1.0, 1.0])], [2])
    assert DynamicProgram(dominated).interval(0, nothing, 1) is None


def test_several_budgets_layer_by_layer() -> None:
    rng = np.random.default_rng(0)
    costs = [rng.integers(0, 50, (6, 2)) for _ in range(5)]
    losses = [np.sort(rng.uniform(0, 5, 6))[::-1] for _ in range(5)]
    model = Knapsack(costs, losses, [100, 110])
    solver = IntegerProgram(model)
    assert walk(solver, np.ones(5)) == solver.plan
    assert walk(IntegerProgram(model), np.ones(5)) == solver.plan
    walked = walk(solver, np.exp(rng.normal(0, 1, 5)))
    assert model.meets(walked)
    used = np.zeros(2, np.int64)
    for m in (0.3, 2.0):
        chosen = solver.choose(0, used, m)
        total = [
            m * losses[0][i] + optimum(model.rest(1, model.limits - costs[0][i])) for i in range(6)
        ]
        assert total[chosen] == pytest.approx(min(total), rel=1e-3)


@settings(max_examples=100, deadline=None)
@given(models(budgets=2), st.randoms())
def test_refill_never_worsens(model: Knapsack, random: Any) -> None:
    feasible = plans(model)
    if not feasible:
        return
    start = random.choice(feasible)
    filled = model.refill(start)
    assert model.meets(filled)
    assert model.loss(filled) <= model.loss(start)
    assert model.refill(filled) == filled
    for t in range(len(model)):  # no single change that lowers the loss is left
        for i in range(len(model.losses[t])):
            other = [*filled[:t], i, *filled[t + 1 :]]
            assert not model.meets(other) or model.losses[t][i] >= model.losses[t][filled[t]]


def test_refill_takes_the_best_per_cost_first() -> None:
    costs = [np.array([[0], [4]]), np.array([[0], [2]]), np.array([[0], [0]])]
    losses = [np.array([5.0, 0.0]), np.array([3.0, 0.0]), np.array([1.0, 0.5])]
    assert Knapsack(costs, losses, [4]).refill([0, 0, 0]) == [0, 1, 1]
    assert Knapsack(costs, losses, [6]).refill([0, 0, 0]) == [1, 1, 1]


def test_gains_too_small_to_add_up_end() -> None:
    tiny = [np.array([1.0]), np.array([1e-300, 0.0])]
    model = Knapsack([np.array([[1]]), np.array([[0], [1]])], tiny, [2])
    for solver in (DynamicProgram(model), IntegerProgram(model)):
        assert model.loss(solver.plan) == 1.0


def test_ties_take_the_first_of_the_cheapest() -> None:
    costs = [np.array([[2], [1], [1], [3]])] * 2
    losses = [np.array([1.0, 1.0, 1.0, 1.0])] * 2
    model = Knapsack(costs, losses, [9])
    assert DynamicProgram(model).plan == IntegerProgram(model).plan == [1, 1]
    assert model.options(0).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(models(budgets=2))
def test_options_are_what_nothing_undercuts(model: Knapsack) -> None:
    for t in range(len(model)):
        kept = model.options(t).tolist()
        for j in range(len(model.losses[t])):
            below = (model.costs[t] <= model.costs[t][j]).all(1)
            below &= model.losses[t] <= model.losses[t][j]
            assert any(below[i] for i in kept)
            if j in kept:
                assert not any(below[i] for i in kept if i != j)


def network(n_layers: int, n_choices: int) -> Knapsack:
    rng = np.random.default_rng(0)
    costs, losses = [], []
    for _ in range(n_layers):
        share = np.sort(rng.uniform(0.02, 0.5, n_choices))
        costs.append((rng.integers(400, 40_000) * share).astype(np.int64)[:, None])
        losses.append(rng.lognormal() * (0.5 - share) ** 3 * rng.uniform(0.8, 1.2, n_choices))
    return Knapsack(costs, losses, [int(0.4 * sum(c.max() for c in costs))])


@pytest.mark.parametrize(
    ("layers", "choices", "points"),
    [(20, 120, 1 << 15), (20, 120, 1 << 11), (200, 66, 1 << 11)],
)
def test_it_is_bounded(layers: int, choices: int, points: int) -> None:
    model = network(layers, choices)
    solver = DynamicProgram(model, points)
    assert sum(len(costs) for costs, _ in solver._fronts) <= (points + layers) * (layers + 1)
    exact = model.loss(DynamicProgram(model).plan)
    assert exact <= model.loss(solver.plan) <= 1.02 * exact


def test_many_plans_are_estimated_at_once() -> None:
    model = network(20, 66)
    rng = np.random.default_rng(1)
    indices = rng.integers(0, 66, (20_000, 20))
    allocation = SeparableAllocation(model.costs, model.limits, lambda: model.losses)
    estimates = allocation.estimate(indices)
    assert estimates.shape == (20_000,)
    for row in (7, 19_999):
        by_hand = sum(model.losses[t][i] for t, i in enumerate(indices[row]))
        assert estimates[row] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("costs", "losses", "limits", "error", "words"),
    [
        (COSTS, LOSSES, [0], BudgetError, r"cost \[1\] and the limits are \[0\]"),
        (COSTS, LOSSES[:1], [9], AutocompError, "same layers"),
        ([], [], [9], AutocompError, "at least one layer"),
        (COSTS, LOSSES[::-1], [9], AutocompError, "a cost per choice and budget"),
        (COSTS, LOSSES, [9, 9], AutocompError, "for 2 budgets"),
        ([-COSTS[0]], LOSSES[:1], [9], AutocompError, "costs >= 0"),
        (COSTS[:1], [np.array([1.0, np.nan])], [9], AutocompError, "finite losses"),
    ],
)
def test_errors_say_what_is_wrong(
    costs: Any, losses: Any, limits: list[int], error: type[AutocompError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        Knapsack(costs, losses, limits)
    assert "\n" not in str(caught.value)


def test_one_budget_and_two_points() -> None:
    two = Knapsack([np.ones((1, 2), np.int64)], [np.ones(1)], [3, 3])
    with pytest.raises(AutocompError, match="use `ilp`"):
        DynamicProgram(two)
    with pytest.raises(AutocompError, match="points >= 2"):
        DynamicProgram(Knapsack(COSTS, LOSSES, [9]), 1)
    with pytest.raises(BudgetError, match="start the plan again"):
        DynamicProgram(Knapsack(COSTS, LOSSES, [9])).choose(1, np.array([10]))
