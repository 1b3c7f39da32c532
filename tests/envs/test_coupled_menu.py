"""Menus on which channels can go: real budgets are met, and environments keep their contract."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow
from autocomp.envs import ENVS, CoupledMenu, LayerwiseEnv, WholePlanEnv, make_menu
from autocomp.search_spaces import make_space
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from autocomp.allocation.coupled_solver import CoupledSolver
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.errors import BudgetError, SpaceError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

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
def menus(_trained_tiny: Any, tiny_data: Any) -> Callable[..., CoupledMenu]:
    """Returns a function that makes a menu for a space and budgets; each problem is built once."""
    problems: dict[str, CompressionProblem] = {}

    def menu(space: str, budgets: str, discrete: bool = False) -> CoupledMenu:
        if budgets not in problems:
            problems[budgets] = CompressionProblem(
                copy.deepcopy(_trained_tiny), tiny_data, budgets, ProblemSettings(search_images=40)
            )
        made = make_menu(problems[budgets], make_space(space, discrete=discrete))
        assert isinstance(made, CoupledMenu)
        return made

    return menu


@pytest.fixture(params=CASES, ids=str)
def menu(request: pytest.FixtureRequest, menus: Any) -> Any:
    return menus(*request.param)


def check(menu: CoupledMenu, indices: list[int]) -> dict[str, int]:
    """Asserts that a plan's real costs are within every budget; returns them."""
    problem = menu.problem
    costs = problem.costs_of(menu.plan(indices))
    assert menu.meets(indices) and problem.is_within(menu.plan(indices))
    for name, limit in problem.limits.items():
        assert costs[name] <= limit
    return costs


# ---- plans


def test_every_action_becomes_a_plan_within_the_real_budgets(menu: CoupledMenu) -> None:
    rng = np.random.default_rng(0)
    plans = set()
    for _ in range(12):
        actions = rng.uniform(-1, 1, (len(menu), menu.vector.width))
        for indices in (menu.fit(actions), menu.walk(actions)):
            check(menu, indices)
            plans.add(menu.plan(indices))
        assert menu.fit(actions) == menu.fit(actions)
    assert len(plans) > 6
    check(menu, menu.solver.plan)
    check(menu, menu.even())
    check(menu, menu.vary(menu.solver.plan, rng))


def test_files_are_within_the_size_budget(menus: Any) -> None:
    menu = menus(FULL, "size=10%")
    rng = np.random.default_rng(1)
    limit = menu.problem.limits["size"]
    sizes = []
    for _ in range(6):
        indices = menu.fit(rng.uniform(-1, 1, (len(menu), menu.vector.width)))
        _, data = menu.problem.compressed(menu.plan(indices))
        assert len(data) <= limit
        sizes.append(len(data))
    assert max(sizes) > 0.85 * limit  # and it is used


def test_plans_spend_most_of_the_budget(menus: Any) -> None:
    menu = menus("structured", "macs=50%")
    rng = np.random.default_rng(2)
    limit = menu.problem.limits["macs"]
    for _ in range(8):
        spent = check(menu, menu.fit(rng.uniform(-1, 1, (len(menu), menu.vector.width))))["macs"]
        assert spent > 0.85 * limit


def test_too_long_a_plan_is_settled(menus: Any) -> None:
    """The real bytes decide: with estimates that are too low, plans are lowered until they fit."""
    menu = menus(FULL, "size=10%")
    costs, limit = menu._structured._bytes, menu.problem.limits["size"]
    menu._structured._bytes = lambda *given: int(0.6 * costs(*given))
    low = menu._structured.constraint()
    menu.feasibility = menu._constraint = low
    menu.__dict__.pop("solver", None)
    wide = CoupledSolver(low, menu.losses).plan
    assert low.meets(wide) and menu._excess(wide) > 1 and not menu.meets(wide)
    settled = menu.settle(wide)
    assert settled != wide and menu.problem.size_of(menu.plan(settled)) <= limit
    assert menu.settle(settled) == settled
    assert menu.solver.plan == settled
    check(menu, menu.fit(np.full((len(menu), menu.vector.width), 0.3)))


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
        menu = make_menu(again, space)
        check(menu, menu.solver.plan)  # type: ignore[arg-type]


def test_the_menu_knows_the_groups(menus: Any) -> None:
    menu = menus("structured", "macs=50%")
    units = {layer.name: layer.units for layer in menu.layers}
    assert units == {"0": 16, "3": 0, "6": 32, "10": 0}
    assert [len(choices) for choices in menu.choices] == [15, 1, 15, 1]
    assert menu.choices[1] == (NEUTRAL,)
    indices = menu.indices(menu.plan([3, 0, 7, 0]))
    assert indices == [3, 0, 7, 0]
    with pytest.raises(SpaceError, match="one of its choices"):
        menu.index(1, Choice.of(channels=0.5))


def test_estimates_are_sums(menu: CoupledMenu) -> None:
    rng = np.random.default_rng(0)
    plans = np.array([[rng.integers(len(c)) for c in menu.choices] for _ in range(30)])
    by_hand = [sum(menu.losses[t][i] for t, i in enumerate(plan)) for plan in plans]
    assert menu.estimate(plans) == pytest.approx(by_hand)
    best = menu.estimate(np.array([menu.solver.plan]))[0]
    feasible = [p.tolist() for p in plans if menu.meets(p.tolist())]
    assert all(best <= menu.estimate(np.array([p]))[0] + 1e-9 for p in feasible)
    assert menu.losses is menu.losses


def test_coefficients_of_channels_are_refused(tiny_problem: Any) -> None:
    for space in ("coefficients:menu=structured", "coefficients:menu=full"):
        with pytest.raises(SpaceError, match="costs that add up") as caught:
            make_menu(tiny_problem, space)
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
    menu = menus(space, budgets, discrete)
    return gymnasium.make(ENVS[name], problem=menu, disable_env_checker=True)


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
    outcome, problem = info["outcome"], env.unwrapped.menu.problem
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
    menu = menus("structured", "size=50%,macs=60%")
    env = kind(menu)
    env.action_space.seed(5)
    for _ in range(4):
        env.reset()
        done, executed = False, []
        while not done:
            *_, done, _, info = env.step(env.action_space.sample())
            executed.append(info["executed_action"])
        if kind is WholePlanEnv:
            executed = list(menu.vector.split(executed[0]))
        choices = [menu.space.decode(x, a) for x, a in zip(menu.layers, executed, strict=True)]
        assert choices == list(info["outcome"].plan.values())


def test_given_plans_are_followed(menus: Any) -> None:
    for space, budgets in (("structured", "size=50%,macs=60%"), (FULL, "size=10%")):
        menu = menus(space, budgets)
        rng = np.random.default_rng(0)
        plans = [menu.solver.plan, menu.even(), menu.vary(menu.solver.plan, rng)]
        for kind in (LayerwiseEnv, WholePlanEnv):
            for indices in plans:
                log = EpisodeLog(kind(menu))
                assert follow(log, menu, indices)
                assert log._plans == [menu.plan(indices)]
