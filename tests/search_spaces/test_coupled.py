"""Menus on which channels can go: real budgets are met, and environments keep their contract."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow
from autocomp.envs import ENVS, LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import FeasibleSpace, feasible_space, make_space
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from autocomp.allocation.coupled_solver import CoupledSolver
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.errors import BudgetError, SpaceError
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.problem.structured import StructuredModel

FULL = "full:channel_levels=4,levels=4,weight_bits=2/4/8"
CASES = [
    ("structured", "macs=50%"),
    ("structured", "size=50%,macs=60%"),
    ("structured", "params=40%"),
    (FULL, "size=10%"),
    (FULL, "size=30%,bitops=3%"),
    ("full", "size=30%"),
]


@pytest.fixture(scope="module")
def menus(_trained_tiny: Any, tiny_data: Any, table_folder: Path) -> Callable[..., FeasibleSpace]:
    """Returns a function that makes a space under budgets; each is built once, of one network."""
    settings = ProblemSettings(search_images=40, cache=table_folder / "autocomp")
    network = CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, "size=50%", settings)
    made: dict[tuple[str, str, bool], FeasibleSpace] = {}

    def feasible(space: str, budgets: str, discrete: bool = False) -> FeasibleSpace:
        key = (space, budgets, discrete)
        if key not in made:
            problem = network.under(budgets)
            made[key] = feasible_space(problem, make_space(space, discrete=discrete))
            assert not made[key].allocation.separable
        return made[key]

    return feasible


@pytest.fixture(params=CASES, ids=str)
def feasible(request: pytest.FixtureRequest, menus: Any) -> Any:
    return menus(*request.param)


def check(feasible: FeasibleSpace, indices: list[int]) -> dict[str, int]:
    """Asserts that a plan's real costs are within every budget; returns them."""
    problem = feasible.problem
    costs = problem.costs_of(feasible.plan(indices))
    assert feasible.meets(indices) and problem.is_within(feasible.plan(indices))
    for name, limit in problem.limits.items():
        assert costs[name] <= limit
    return costs


# ---- plans


def test_every_action_becomes_a_plan_within_the_real_budgets(feasible: FeasibleSpace) -> None:
    rng = np.random.default_rng(0)
    plans = set()
    for _ in range(12):
        actions = rng.uniform(-1, 1, (len(feasible), feasible.vector.width))
        for indices in (feasible.actions.fit(actions), feasible.actions.walk(actions)):
            check(feasible, indices)
            plans.add(feasible.plan(indices))
        assert feasible.actions.fit(actions) == feasible.actions.fit(actions)
    assert len(plans) > 6
    check(feasible, feasible.allocation.plan)
    check(feasible, feasible.names.even())
    check(feasible, feasible.actions.vary(feasible.allocation.plan, rng))


def test_files_are_within_the_size_budget(menus: Any) -> None:
    feasible = menus(FULL, "size=10%")
    rng = np.random.default_rng(1)
    limit = feasible.problem.limits["size"]
    sizes = []
    for _ in range(6):
        indices = feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), feasible.vector.width)))
        _, data = feasible.problem.compressed(feasible.plan(indices))
        assert len(data) <= limit
        sizes.append(len(data))
    assert max(sizes) > 0.85 * limit  # and it is used


def test_plans_spend_most_of_the_budget(menus: Any) -> None:
    feasible = menus("structured", "macs=50%")
    rng = np.random.default_rng(2)
    limit = feasible.problem.limits["macs"]
    for _ in range(8):
        spent = check(
            feasible,
            feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), feasible.vector.width))),
        )["macs"]
        assert spent > 0.85 * limit


def test_too_long_a_plan_is_settled(menus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real bytes decide: with estimates that are too low, plans are lowered until they fit."""
    bytes_of = StructuredModel._bytes
    monkeypatch.setattr(StructuredModel, "_bytes", lambda *given: int(0.6 * bytes_of(*given)))
    feasible = feasible_space(menus(FULL, "size=10%").problem, FULL)  # with these estimates
    allocation, limit = feasible.allocation, feasible.problem.limits["size"]
    wide = CoupledSolver(allocation, feasible.losses).plan
    assert allocation.meets(wide) and not allocation.is_settled(wide)
    assert feasible.problem.size_of(feasible.plan(wide)) > limit and not feasible.meets(wide)
    settled = allocation.settle(wide)
    assert settled != wide and feasible.problem.size_of(feasible.plan(settled)) <= limit
    assert allocation.settle(settled) == settled
    assert allocation.plan == settled
    check(feasible, feasible.actions.fit(np.full((len(feasible), feasible.vector.width), 0.3)))


def test_the_least_of_a_budget_out_of_reach(_trained_tiny: Any, tiny_data: Any) -> None:
    for space, budget in (("structured", "macs=1%"), (FULL, "size=1%")):
        net = copy.deepcopy(_trained_tiny)
        problem = CompressionProblem(net, tiny_data, budget)
        with pytest.raises(BudgetError, match=r"reaches [\d,]+ \w+ at least") as caught:
            LayerwiseEnv(problem, space)
        assert "\n" not in str(caught.value)
        least = str(caught.value).split("reaches ")[1].split()[0].replace(",", "")
        name = budget.partition("=")[0]
        again = CompressionProblem(net, tiny_data, f"{name}={least}", ProblemSettings(
            search_images=16))  # fmt: skip
        feasible = feasible_space(again, space)
        check(feasible, feasible.allocation.plan)  # type: ignore[arg-type]


def test_the_menu_knows_the_groups(menus: Any) -> None:
    feasible = menus("structured", "macs=50%")
    units = {layer.name: layer.units for layer in feasible.layers}
    assert units == {"0": 16, "3": 0, "6": 32, "10": 0}
    assert [len(choices) for choices in feasible.choices] == [15, 1, 15, 1]
    assert feasible.choices[1] == (NEUTRAL,)
    indices = feasible.indices(feasible.plan([3, 0, 7, 0]))
    assert indices == [3, 0, 7, 0]
    with pytest.raises(SpaceError, match="one of its choices"):
        feasible.index(1, Choice.of(channels=0.5))


def test_estimates_are_sums(feasible: FeasibleSpace) -> None:
    rng = np.random.default_rng(0)
    plans = np.array([[rng.integers(len(c)) for c in feasible.choices] for _ in range(30)])
    by_hand = [sum(feasible.losses[t][i] for t, i in enumerate(plan)) for plan in plans]
    assert feasible.estimate(plans) == pytest.approx(by_hand)
    best = feasible.estimate(np.array([feasible.allocation.plan]))[0]
    within = [p.tolist() for p in plans if feasible.meets(p.tolist())]
    assert all(best <= feasible.estimate(np.array([p]))[0] + 1e-9 for p in within)
    assert feasible.losses is feasible.losses


def test_coefficients_of_channels_are_refused(tiny_problem: Any) -> None:
    for space in ("coefficients:menu=structured", "coefficients:menu=full"):
        with pytest.raises(SpaceError, match="costs that add up") as caught:
            feasible_space(tiny_problem, space)
        assert "\n" not in str(caught.value)
        with pytest.raises(SpaceError, match="costs that add up"):
            LayerwiseEnv(tiny_problem, space)


# ---- environments


ENV_CASES = [
    (env, space, budgets, discrete)
    for env in ENVS
    for space, budgets in (("structured", "size=50%,macs=60%"), (FULL, "size=10%"))
    for discrete in (False, True)
]


@pytest.fixture(params=ENV_CASES, ids=str)
def env(request: pytest.FixtureRequest, menus: Any) -> Any:
    name, space, budgets, discrete = request.param
    feasible = menus(space, budgets, discrete)
    return gymnasium.make(ENVS[name], problem=feasible, disable_env_checker=True)


def test_checkers_pass_without_a_warning(env: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env.unwrapped, skip_render_check=True)
        sb3_check(env.unwrapped, warn=True, skip_render_check=True)


def rollout(env: Any, seed: int) -> list[tuple[bytes, float]]:
    env.action_space.seed(seed)
    obs, _ = env.reset(seed=seed)
    trace = [(obs.tobytes(), 0.0)]
    done = False
    while not done:
        obs, reward, done, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs) and not truncated
        trace.append((obs.tobytes(), reward))
    outcome, problem = info["outcome"], env.unwrapped.feasible.problem
    assert outcome.within_budget
    assert all(outcome.costs[name] <= limit for name, limit in problem.limits.items())
    return trace


def test_an_episode_is_deterministic_and_within_the_budgets(env: Any) -> None:
    traces = [rollout(env, seed) for seed in range(3)]
    assert [rollout(env, seed) for seed in range(3)] == traces
    assert len({str(trace) for trace in traces}) > 1


@pytest.mark.parametrize("kind", [LayerwiseEnv, WholePlanEnv])
def test_a_new_problem_gives_the_same_episode(
    kind: Any, _trained_tiny: Any, tiny_data: Any
) -> None:
    found = []
    for _ in range(2):
        problem = CompressionProblem(
            copy.deepcopy(_trained_tiny), tiny_data, "macs=50%", ProblemSettings(search_images=40)
        )
        found.append(rollout(kind(problem, "structured"), 4))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [LayerwiseEnv, WholePlanEnv])
def test_executed_actions_are_what_was_done(kind: Any, menus: Any) -> None:
    feasible = menus("structured", "size=50%,macs=60%")
    env = kind(feasible)
    env.action_space.seed(5)
    for _ in range(4):
        env.reset()
        done, executed = False, []
        while not done:
            *_, done, _, info = env.step(env.action_space.sample())
            executed.append(info["executed_action"])
        if kind is WholePlanEnv:
            executed = list(feasible.vector.split(executed[0]))
        choices = [
            feasible.space.decode(x, a) for x, a in zip(feasible.layers, executed, strict=True)
        ]
        assert choices == list(info["outcome"].plan.values())


def test_given_plans_are_followed(menus: Any) -> None:
    for space, budgets in (("structured", "size=50%,macs=60%"), (FULL, "size=10%")):
        feasible = menus(space, budgets)
        rng = np.random.default_rng(0)
        plans = [
            feasible.allocation.plan,
            feasible.names.even(),
            feasible.actions.vary(feasible.allocation.plan, rng),
        ]
        for kind in (LayerwiseEnv, WholePlanEnv):
            for indices in plans:
                log = EpisodeLog(kind(feasible))
                assert follow(log, feasible, indices)
                assert log._plans == [feasible.plan(indices)]
