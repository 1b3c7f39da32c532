"""Both environments: checkers, determinism, budgets met by every episode."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow
from autocomp.envs import ENVS, LayerwiseEnv, WholePlanEnv
from autocomp.envs.observations import FEATURES, feature_names
from autocomp.search_spaces import FeasibleSpace, make_space
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from autocomp.errors import AgentError, BudgetError, SpaceError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

SPACES = ["joint", "sparsity:weight_bits=8", "bits:activation_bits=4/8", "nm", "coefficients"]


@pytest.fixture(scope="module", params=[(s, d) for s in SPACES for d in (False, True)], ids=str)
def feasible(request: pytest.FixtureRequest, tiny_problem: CompressionProblem) -> FeasibleSpace:
    text, discrete = request.param
    return FeasibleSpace.build(tiny_problem, make_space(text, discrete=discrete))


@pytest.fixture(params=ENVS)
def env(request: pytest.FixtureRequest, feasible: FeasibleSpace) -> Any:
    return gymnasium.make(ENVS[request.param], problem=feasible, disable_env_checker=True)


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
        assert env.observation_space.contains(obs)
        assert not truncated
        trace.append((obs.tobytes(), reward))
    assert info["outcome"].within_budget
    return trace


def test_the_same_seed_gives_the_same_episode(env: Any) -> None:
    assert rollout(env, 3) == rollout(env, 3)


def test_every_random_episode_meets_the_budget(
    feasible: FeasibleSpace, tiny_problem: CompressionProblem
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        actions = rng.uniform(-1, 1, (len(feasible), feasible.vector.width))
        for indices in (feasible.actions.fit(actions), feasible.actions.walk(actions)):
            assert feasible.allocation.meets(indices)
            assert tiny_problem.is_within(feasible.plan(indices))


@pytest.mark.parametrize(
    "budgets", ["size=40%", "size=50%,macs=60%", "bitops=5%,params=70%,size=60%"]
)
def test_executed_actions_are_what_was_done(
    tiny_net: Any, tiny_data: Any, budgets: str, table_folder: Path
) -> None:
    settings = ProblemSettings(search_images=16, cache=table_folder / "autocomp")
    problem = CompressionProblem(tiny_net, tiny_data, budgets, settings)
    env = LayerwiseEnv(problem, make_space("joint"))
    env.action_space.seed(5)
    for _ in range(5):
        env.reset()
        for spec in problem.network.layers:
            *_, done, _, info = env.step(env.action_space.sample())
            assert env.feasible.space.decode(spec, info["executed_action"]) == info["choice"]
        assert done
        assert info["outcome"].within_budget
        assert all(info["outcome"].costs[n] <= limit for n, limit in problem.limits.items())


def test_a_given_plan_is_followed_below_the_lower_wall(tiny_problem: CompressionProblem) -> None:
    feasible = FeasibleSpace.build(tiny_problem, make_space("joint"))
    cheapest = [int(c[:, 0].argmin()) for c in feasible.allocation.costs]
    for kind in (LayerwiseEnv, WholePlanEnv):
        log = EpisodeLog(kind(feasible))
        assert follow(log, feasible, cheapest)
        assert log._plans == [feasible.plan(cheapest)]


def test_f0_is_the_sum_of_the_choices_losses(tiny_problem: CompressionProblem) -> None:
    feasible = FeasibleSpace.build(tiny_problem, make_space("bits"))
    rng = np.random.default_rng(0)
    plans = rng.integers(0, 7, (100, len(feasible)))
    by_hand = [sum(feasible.losses[t][i] for t, i in enumerate(plan)) for plan in plans]
    assert feasible.estimate(plans) == pytest.approx(by_hand)
    assert feasible.losses is feasible.losses


def test_a_feasible_wish_is_granted(tiny_problem: CompressionProblem) -> None:
    feasible = FeasibleSpace.build(tiny_problem, make_space("joint"))
    mask = feasible.allocation.mask(())
    for index in np.flatnonzero(mask)[:20].tolist():
        action = feasible.space.encode(feasible.layers[0], feasible.choices[0][index])
        found, executed = feasible.actions.execute((), action)
        assert (found, executed.tolist()) == (index, action.tolist())


def test_the_plan_spends_most_of_its_budget(tiny_problem: CompressionProblem) -> None:
    feasible = FeasibleSpace.build(tiny_problem, make_space("sparsity:weight_bits=8"))
    rng = np.random.default_rng(1)
    limit = int(feasible.allocation.limits[0])
    spent = [
        int(
            feasible.allocation.total(feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), 1))))[
                0
            ]
        )
        for _ in range(20)
    ]
    assert min(spent) > 0.9 * min(limit, int(feasible.allocation.dearest[0]))


def test_the_dense_reward_sums_to_the_merit(tiny_problem: CompressionProblem) -> None:
    env = LayerwiseEnv(tiny_problem, "joint", reward="dense")
    env.action_space.seed(2)
    env.reset()
    rewards, done = [], False
    while not done:
        _, reward, done, _, info = env.step(env.action_space.sample())
        rewards.append(reward)
    assert sum(rewards) == pytest.approx(info["outcome"].merit)
    assert len(set(rewards)) > 1


def test_the_observation_table_names_every_entry(tiny_problem: CompressionProblem) -> None:
    env = LayerwiseEnv(tiny_problem, "joint")
    names = feature_names(2)
    assert env.observation_space.shape == (len(names),) == (len(FEATURES) + 6,)
    obs, _ = env.reset()
    values = dict(zip(names, obs.tolist(), strict=True))
    assert values["position"] == 0
    assert values["budget spent"] == 0
    assert values["budget ratio"] == pytest.approx(0.6, abs=0.01)
    assert values["low 0"] <= values["high 0"]
    assert float(obs[names.index("error at 0/4")]) <= 1
    curve = [values[f"error at {i}/4"] for i in range(5)]
    assert curve[0] > curve[-1]


def test_misuse_is_refused(tiny_problem: CompressionProblem) -> None:
    for name in ENVS.values():
        with pytest.raises(AgentError, match="needs a problem"):
            gymnasium.make(name)
    env = LayerwiseEnv(tiny_problem, "joint")
    env.reset()
    done = False
    while not done:
        *_, done, _, _ = env.step(env.action_space.sample())
    with pytest.raises(AgentError, match="reset"):
        env.step(env.action_space.sample())


def test_a_budget_out_of_reach_names_the_least(tiny_problem: CompressionProblem) -> None:
    problem = tiny_problem.under("size=1%")
    with pytest.raises(BudgetError, match=r"reaches [\d,]+ bytes at least"):
        LayerwiseEnv(problem, "joint")


def test_a_space_that_breaks_its_contract_is_named(tiny_problem: CompressionProblem) -> None:
    class Liar(type(make_space("bits"))):  # type: ignore[misc]
        def choices(self, layer: Any) -> Any:
            return super().choices(layer)[:2]

    feasible = FeasibleSpace.build(tiny_problem, Liar())
    with pytest.raises(SpaceError, match="list it in choices"):
        feasible.actions.execute((), np.ones(1, np.float32))


def test_options_of_reset_that_do_not_exist_are_named(tiny_problem: CompressionProblem) -> None:
    feasible = FeasibleSpace.build(tiny_problem, make_space("joint"))
    for kind in (LayerwiseEnv, WholePlanEnv):
        env = kind(feasible)
        with pytest.raises(AgentError, match="option of reset.*lower_wall"):
            env.reset(options={"lower_wall": False})
        with pytest.raises(AgentError, match="`enforce_utilisation` must be of type bool"):
            env.reset(options={"enforce_utilisation": "no"})
        env.reset(options={})
