"""Coupled feasibility against trying every plan, and how near the heuristic gets to the best."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autocomp.allocation.coupled_solver import CoupledSolver
from autocomp.allocation.coupling import CoupledCosts, Coupling, Levels
from autocomp.errors import BudgetError

Ints = NDArray[np.int64]


class Tiny:
    """A few layers whose costs grow with the levels of the groups that they read.

    cost of choice i at levels v = (base + sum of slope * v) * density_i, in each budget; so fewer
    units and denser choices never cost more, and choice 0 of a level is the cheapest of it in every
    budget.

    Args:
        rng: where everything comes from.
        budgets: how many.
        layers: how many.
        inner: choices at each level.
    """

    def __init__(self, rng: np.random.Generator, budgets: int, layers: int, inner: int = 2) -> None:
        n_groups = int(rng.integers(0, layers))
        leaders = sorted(rng.choice(layers, n_groups, replace=False).tolist())
        self.leads = [leaders.index(t) if t in leaders else -1 for t in range(layers)]
        self.n_levels = tuple(int(k) for k in rng.integers(1, 4, n_groups))
        self.reads: list[tuple[int, ...]] = []
        self.own: list[Ints] = []
        self._parts: list[tuple[Ints, Ints, Ints]] = []
        for t in range(layers):
            known = [g for g, leader in enumerate(leaders) if leader < t and rng.random() < 0.7]
            group = self.leads[t]
            reads = [*known, *([group] if group >= 0 else [])]
            rng.shuffle(reads)
            self.reads.append(tuple(reads))
            levels = self.n_levels[group] if group >= 0 else 1
            self.own.append(np.repeat(np.arange(levels), inner))
            density = np.sort(rng.integers(1, 6, (inner, budgets)), axis=0)
            density = np.tile(density, (levels, 1))
            order = rng.permutation(len(density))
            self.own[-1], density = self.own[-1][order], density[order]
            self._parts.append(
                (rng.integers(0, 9, budgets), rng.integers(0, 6, (len(reads), budgets)), density)
            )
        self.limits = np.zeros(budgets, np.int64)
        self.coupling = Coupling(
            self.n_levels, tuple(self.leads), tuple(self.own), tuple(self.reads), self.table
        )
        self.plans = list(itertools.product(*(range(len(own)) for own in self.own)))
        self.totals = {plan: self.total(plan) for plan in self.plans}

    def table(self, step: int, levels: Levels) -> Ints:
        base, slope, density = self._parts[step]
        width = base + (slope * np.array(levels, np.int64).reshape(-1, 1)).sum(0)
        found: Ints = width * density
        return found

    def total(self, plan: Sequence[int]) -> Ints:
        """Without anything from the package."""
        levels = {g: int(self.own[t][plan[t]]) for t, g in enumerate(self.leads) if g >= 0}
        spent = np.zeros_like(self.limits)
        for t, i in enumerate(plan):
            spent = spent + self.table(t, tuple(levels[g] for g in self.reads[t]))[i]
        return spent

    def between(self, shares: Sequence[float]) -> Ints:
        """Returns limits somewhere between the cheapest and the dearest plan."""
        every = np.array(list(self.totals.values()))
        low, high = every.min(0), every.max(0)
        found: Ints = np.floor(low + np.array(shares) * (high - low)).astype(np.int64)
        return found


@st.composite
def instances(draw: st.DrawFn, budgets: int = 1) -> tuple[Tiny, CoupledCosts]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tiny = Tiny(rng, budgets, draw(st.integers(1, 4)))
    shares = [draw(st.floats(-0.05, 1.05)) for _ in range(budgets)]
    floor = draw(st.sampled_from([0.0, 0.9]))
    return tiny, CoupledCosts(tiny.coupling, tiny.between(shares), floor)


@settings(max_examples=120)
@given(st.integers(1, 3).flatmap(lambda n: instances(n)))
def test_masks_are_exact_after_every_prefix(instance: tuple[Tiny, CoupledCosts]) -> None:
    """A choice is offered if, and only if, some plan that begins so meets every budget."""
    tiny, constraint = instance
    meets = {p: bool((t <= constraint.limits).all()) for p, t in tiny.totals.items()}
    assert constraint.possible == any(meets.values())
    feasible = {p[:n] for p, ok in meets.items() if ok for n in range(1, len(p) + 1)}
    for step in range(len(tiny.own)):
        for prefix in {plan[:step] for plan in tiny.plans}:
            expected = [(*prefix, i) in feasible for i in range(len(tiny.own[step]))]
            if not any(expected):
                with pytest.raises(BudgetError, match="start the plan again"):
                    constraint.mask(prefix)
                continue
            assert constraint.mask(prefix, enforce_utilisation=False).tolist() == expected
            walled = constraint.mask(prefix)
            assert not (walled & ~np.array(expected)).any() and walled.any()


@settings(max_examples=80)
@given(st.integers(1, 3).flatmap(lambda n: instances(n)))
def test_totals_bounds_and_alternatives(instance: tuple[Tiny, CoupledCosts]) -> None:
    tiny, constraint = instance
    every = np.array(list(tiny.totals.values()))
    assert constraint.cheapest.tolist() == every.min(0).tolist()
    assert constraint.dearest.tolist() == every.max(0).tolist()
    rng = np.random.default_rng(0)
    for plan in [tiny.plans[i] for i in rng.integers(0, len(tiny.plans), 12)]:
        total = tiny.totals[plan]
        assert constraint.total(plan).tolist() == total.tolist()
        assert constraint.meets(plan) == bool((total <= constraint.limits).all())
        for step in range(len(plan)):
            expected = [
                tiny.totals[*plan[:step], i, *plan[step + 1 :]].tolist()
                for i in range(len(tiny.own[step]))
            ]
            assert constraint.alternatives(plan, step).tolist() == expected
            ends = [t for p, t in tiny.totals.items() if p[:step] == plan[:step]]
            spent = constraint.spent(plan[:step])
            low, high = constraint.bounds(plan[:step])
            assert (spent + low).tolist() == np.min(ends, axis=0).tolist()
            assert (spent + high).tolist() == np.max(ends, axis=0).tolist()
    assert sorted(constraint.order) == list(range(len(tiny.own)))


@given(instances(1))
def test_the_lower_wall(instance: tuple[Tiny, CoupledCosts]) -> None:
    """It leaves out what must stay below the floor, unless that is everything."""
    tiny, constraint = instance
    assume(constraint.possible)
    for step in range(len(tiny.own)):
        for prefix in {plan[:step] for plan in tiny.plans}:
            reach: dict[int, tuple[bool, bool]] = {}
            for plan, total in tiny.totals.items():
                if plan[:step] == prefix:
                    ok, near = reach.get(plan[step], (False, False))
                    reach[plan[step]] = (
                        ok or bool((total <= constraint.limits).all()),
                        near
                        or bool((total >= constraint.min_utilisation * constraint.limits).any()),
                    )
            choices = range(len(tiny.own[step]))
            feasible = [reach[i][0] for i in choices]
            if not any(feasible):
                continue
            walled = [reach[i][0] and reach[i][1] for i in choices]
            expected = walled if any(walled) else feasible
            assert constraint.mask(prefix).tolist() == expected


@given(st.integers(1, 3).flatmap(lambda n: instances(n)), st.integers(0, 9))
def test_every_walk_ends_within_the_budgets(instance: tuple[Tiny, CoupledCosts], seed: int) -> None:
    tiny, constraint = instance
    assume(constraint.possible)
    rng = np.random.default_rng(seed)
    plan: list[int] = []
    for _ in tiny.own:
        plan.append(int(rng.choice(np.flatnonzero(constraint.mask(plan)))))
    assert (tiny.totals[tuple(plan)] <= constraint.limits).all()


def opposed() -> Coupling:
    """Two budgets that want different choices: no completion is the cheapest in both."""
    costs = [np.array([[1, 9], [9, 1], [6, 6]]), np.array([[1, 9], [9, 1], [6, 6]])]
    zeros = np.zeros(3, np.int64)
    return Coupling((), (-1, -1), (zeros, zeros), ((), ()), lambda step, levels: costs[step])


def test_by_hand_two_layers_and_a_group() -> None:
    """Layer 0 keeps 1 or 2 units and costs 5 a unit; layer 1 costs 3 a unit, or 4 if dense."""

    def table(step: int, levels: Levels) -> Ints:
        units = levels[0] + 1
        return np.array([[5 * units]] * 2 if step == 0 else [[3 * units], [4 * units]], np.int64)

    own = (np.array([0, 1]), np.array([0, 0]))
    coupling = Coupling((2,), (0, -1), own, ((0,), (0,)), table)
    found = {limit: CoupledCosts(coupling, np.array([limit])) for limit in (7, 8, 15, 16, 18)}
    assert not found[7].possible and found[8].possible
    assert found[15].mask(()).tolist() == [True, False]
    assert found[16].mask(()).tolist() == [True, True]
    assert found[16].mask([1]).tolist() == [True, False]
    assert found[18].mask([1]).tolist() == [True, True]
    assert found[8].mask([0]).tolist() == [True, False]
    assert found[18].alternatives([1, 1], 0).tolist() == [[9], [18]]
    assert found[18].alternatives([0, 1], 1).tolist() == [[8], [9]]
    walled = CoupledCosts(coupling, np.array([17]), min_utilisation=0.9)
    assert walled.mask(()).tolist() == [False, True]
    assert walled.mask((), enforce_utilisation=False).tolist() == [True, True]


def test_an_offered_choice_is_real_even_where_budgets_disagree() -> None:
    """No completion is cheapest in both budgets; what is called feasible exists all the same."""
    for limits in ([12, 12], [10, 18], [2, 18], [18, 2], [15, 15], [9, 20]):
        constraint = CoupledCosts(opposed(), np.array(limits))
        if not constraint.possible:
            continue
        for first in np.flatnonzero(constraint.mask(())):
            plan = [int(first)]
            plan.append(int(np.flatnonzero(constraint.mask(plan))[0]))
            assert constraint.meets(plan)
    assert CoupledCosts(opposed(), np.array([12, 12])).possible


def test_tables_are_asked_once() -> None:
    asked: list[tuple[int, Levels]] = []
    tiny = Tiny(np.random.default_rng(5), 1, 4)

    def table(step: int, levels: Levels) -> Ints:
        asked.append((step, levels))
        return tiny.table(step, levels)

    coupling = Coupling(
        tiny.n_levels, tuple(tiny.leads), tuple(tiny.own), tuple(tiny.reads), table
    )  # fmt: skip
    constraint = CoupledCosts(coupling, tiny.between([0.5]))
    for plan in tiny.plans:
        constraint.total(plan)
        constraint.bounds(plan[:2])
    assert len(asked) == len(set(asked)) > 0


# ---- the solver


def losses_for(tiny: Tiny, rng: np.random.Generator) -> list[Any]:
    """Random losses; in general the cheaper the worse, with exceptions."""
    found = []
    for t, own in enumerate(tiny.own):
        costs = tiny.table(t, tuple(tiny.n_levels[g] - 1 for g in tiny.reads[t]))[:, 0]
        height = 2.0 * own + costs / max(1, costs.max()) + rng.normal(0, 0.3, len(own))
        found.append((height.max() - height) ** 2 * rng.uniform(0.2, 2))
    return found


def solved(seed: int, budgets: int) -> tuple[float, float, float] | None:
    """Returns (found, optimum, worst feasible) loss of a random instance of four layers."""
    rng = np.random.default_rng(seed)
    tiny = Tiny(rng, budgets, 4, inner=3)
    constraint = CoupledCosts(tiny.coupling, tiny.between(rng.uniform(0.1, 0.8, budgets)))
    if not constraint.possible:
        return None
    losses = losses_for(tiny, rng)
    solver = CoupledSolver(constraint, losses)
    plan = solver.plan
    assert (tiny.totals[tuple(plan)] <= constraint.limits).all()
    feasible = [
        sum(x[i] for x, i in zip(losses, p, strict=True))
        for p, total in tiny.totals.items()
        if (total <= constraint.limits).all()
    ]
    assert solver.loss(plan) == pytest.approx(sum(x[i] for x, i in zip(losses, plan, strict=True)))
    return solver.loss(plan), min(feasible), max(feasible)


@pytest.mark.parametrize(("budgets", "at_optimum", "mean_gap"), [(1, 1.0, 1e-9), (2, 0.98, 0.003)])
def test_the_solver_is_nearly_optimal(budgets: int, at_optimum: float, mean_gap: float) -> None:
    """The gap is a share of the distance from the best to the worst feasible plan."""
    gaps = []
    for seed in range(200):
        result = solved(seed, budgets)
        if result is not None and result[2] > result[1] + 1e-9:
            found, best, worst = result
            assert found >= best - 1e-9
            gaps.append((found - best) / (worst - best))
    assert len(gaps) > 150
    assert np.mean(np.array(gaps) < 1e-9) >= at_optimum
    assert np.mean(gaps) <= mean_gap


def test_the_tightest_budget_leaves_the_cheapest_plan() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tiny = Tiny(rng, 1, 4)
        constraint = CoupledCosts(tiny.coupling, tiny.between([0.0]))
        solver = CoupledSolver(constraint, losses_for(tiny, rng))
        assert constraint.total(solver.plan).tolist() == constraint.cheapest.tolist()
        wide = CoupledCosts(tiny.coupling, tiny.between([1.0]))
        free = CoupledSolver(wide, solver.losses)
        assert free.loss(free.plan) == pytest.approx(sum(float(x.min()) for x in free.losses))


def test_lowered_plans_meet_what_they_are_lowered_to() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tiny = Tiny(rng, 1, 4)
        constraint = CoupledCosts(tiny.coupling, tiny.between([0.9]))
        solver = CoupledSolver(constraint, losses_for(tiny, rng))
        goal = tiny.between([0.3])
        lowered = solver.lowered(solver.plan, goal)
        assert (constraint.total(lowered) <= goal).all()
        assert solver.lowered(lowered, goal) == lowered


def test_multipliers_move_the_plan() -> None:
    """A layer whose losses count more gets more of the budget."""
    costs = np.arange(1, 6, dtype=np.int64)[:, None]
    zeros = np.zeros(5, np.int64)
    coupling = Coupling((), (-1, -1), (zeros, zeros), ((), ()), lambda step, levels: costs)
    constraint = CoupledCosts(coupling, np.array([6]))
    curve = np.array([16.0, 9, 4, 1, 0])
    solver = CoupledSolver(constraint, [curve, curve])
    assert solver.plan == [2, 2] == solver.reweighted(np.ones(2))
    assert solver.reweighted(np.array([20.0, 1])) == [4, 0]
    assert solver.reweighted(np.array([1.0, 20])) == [0, 4]
    assert solver.plan == [2, 2] and solver.loss([4, 0]) == 16


def test_settling_comes_last() -> None:
    tiny = Tiny(np.random.default_rng(3), 1, 3)
    constraint = CoupledCosts(tiny.coupling, tiny.between([0.7]))
    rng = np.random.default_rng(0)
    losses = losses_for(tiny, rng)
    given = []

    def settle(indices: Sequence[int]) -> list[int]:
        given.append(list(indices))
        return [0] * len(indices)

    plain = CoupledSolver(constraint, losses).plan
    assert CoupledSolver(constraint, losses, settle).plan == [0, 0, 0]
    assert given[0] == plain


def test_a_plan_that_came_out_too_long_is_solved_again() -> None:
    """Where real costs are 1 % above, lowering to the cheapest plan would waste nearly all."""
    better = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        tiny = Tiny(rng, 1, 4, inner=3)
        constraint = CoupledCosts(tiny.coupling, tiny.between([0.7]))
        losses = losses_for(tiny, rng)
        cheapest = min(tiny.totals, key=lambda plan: int(tiny.totals[plan][0]))

        def real(plan: Sequence[int], tiny: Tiny = tiny) -> float:
            return 1.01 * float(tiny.totals[tuple(plan)][0])

        def settle(
            plan: Sequence[int], limit: int = int(constraint.limits[0]), real: Any = real,
            cheapest: tuple[int, ...] = cheapest,
        ) -> list[int]:  # fmt: skip
            return list(plan) if real(plan) <= limit else list(cheapest)

        solver = CoupledSolver(constraint, losses, settle)
        assert real(solver.plan) <= constraint.limits[0] or solver.plan == list(cheapest)
        lowered = settle(CoupledSolver(constraint, losses).plan)
        assert solver.loss(solver.plan) <= solver.loss(lowered)
        better += solver.loss(solver.plan) < solver.loss(lowered)
    assert better >= 5


def test_no_plan_at_all_is_said() -> None:
    tiny = Tiny(np.random.default_rng(1), 1, 3)
    constraint = CoupledCosts(tiny.coupling, tiny.between([0.0]) - 1)
    with pytest.raises(BudgetError, match="meets the budgets"):
        _ = CoupledSolver(constraint, losses_for(tiny, np.random.default_rng(0))).plan
