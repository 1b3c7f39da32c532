"""Several networks and budgets behind one environment."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.agents.reinforcement.episodes import EpisodeLog, returns
from autocomp.envs import LayerwiseEnv, MultiTaskEnv
from autocomp.envs.multi_task import TrainingTask
from autocomp.search_spaces import FeasibleSpace, feasible_space
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check
from torch import nn

from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

SPACES = [
    "joint:levels=5,weight_bits=2/4/8",
    "joint:levels=5,weight_bits=2/4/8,discrete=true",
    "coefficients:menu=bits",
    "coefficients:menu=bits,discrete=true",
]
SETTINGS = ProblemSettings(search_images=40)


@pytest.fixture(scope="module")
def problems(_trained_tiny: Any, tiny_data: Any) -> list[CompressionProblem]:
    """A network of four layers, and one of two that was not trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        shallow = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 4))
    return [
        CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, "size=30%", SETTINGS),
        CompressionProblem(shallow.eval(), tiny_data, "size=20%", SETTINGS),
    ]


@pytest.fixture(scope="module")
def menus_of(problems: Any) -> Any:
    made: dict[str, list[FeasibleSpace]] = {}

    def make(space: str = SPACES[0]) -> list[FeasibleSpace]:
        if space not in made:
            deep, shallow = (feasible_space(problem, space) for problem in problems)
            made[space] = [deep, deep.under(["size=12%"]), shallow]
        return made[space]

    return make


@pytest.mark.parametrize("level", ["F0", "F1"])
@pytest.mark.parametrize("space", SPACES)
def test_checkers_pass_without_a_warning(space: str, level: str, menus_of: Any) -> None:
    env = MultiTaskEnv(menus_of(space), level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env, skip_render_check=True)
        sb3_check(env, warn=True, skip_render_check=True)


def episode(env: Any, **options: Any) -> tuple[int, float, list[bytes], dict[str, Any]]:
    observation, info = env.reset(options=options)
    lesson, seen, done, total = info["task"], [observation.tobytes()], False, 0.0
    while not done:
        observation, reward, done, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation) and not truncated
        assert info["task"] == lesson
        assert done or reward == 0
        total += reward
        seen.append(observation.tobytes())
    return lesson, total, seen, info


def test_episodes_are_as_long_as_their_network(menus_of: Any) -> None:
    menus = menus_of()
    env = MultiTaskEnv(menus, "F0")
    env.action_space.seed(0)
    assert env.longest is menus[0]
    assert len(env.longest) == 4
    for lesson, feasible in enumerate(menus):
        at, _, seen, info = episode(env, task=lesson)
        assert at == lesson
        assert len(seen) == len(feasible) + 1 == [5, 5, 3][lesson]
        assert list(info["plan"]) == [layer.name for layer in feasible.layers]
        assert feasible.problem.is_within(info["plan"])


def test_lessons_are_drawn_evenly_and_by_the_seed(menus_of: Any) -> None:
    env = MultiTaskEnv(menus_of(), "F0")
    env.reset(seed=3)
    first = [env.reset()[1]["task"] for _ in range(300)]
    assert min(first.count(lesson) for lesson in range(3)) > 70  # 100 +- 8
    env.reset(seed=3)
    assert [env.reset()[1]["task"] for _ in range(300)] == first
    env.reset(seed=4)
    assert [env.reset()[1]["task"] for _ in range(300)] != first


@pytest.mark.parametrize("level", ["F0", "F1"])
def test_the_same_seed_gives_the_same_episodes(level: str, menus_of: Any) -> None:
    traces = []
    for _ in range(2):
        env = MultiTaskEnv(menus_of(), level)
        env.action_space.seed(1)
        env.reset(seed=1)
        traces.append([episode(env)[:3] for _ in range(6)])
    assert traces[0] == traces[1]
    assert len({lesson for lesson, *_ in traces[0]}) > 1


# ---- merit


def walked(env: Any, feasible: FeasibleSpace, indices: list[int], **options: Any) -> float:
    actions = feasible.actions.step_actions(indices)
    assert actions is not None
    env.reset(options={"enforce_utilisation": False, **options})
    for action in actions:
        _, reward, done, _, info = env.step(action)
    assert done and info["plan"] == feasible.plan(indices)
    return float(reward)


@pytest.mark.parametrize("level", ["F0", "F1"])
@pytest.mark.parametrize("space", [SPACES[0], SPACES[2]])
def test_the_solvers_own_plan_is_worth_nothing(space: str, level: str, menus_of: Any) -> None:
    menus = menus_of(space)
    env = MultiTaskEnv(menus, level)
    for lesson, feasible in enumerate(menus):
        assert walked(env, feasible, feasible.allocation.plan, task=lesson) == 0


def test_the_merit_is_the_share_of_the_solvers_loss(menus_of: Any) -> None:
    feasible = menus_of()[1]
    plan = feasible.allocation.plan
    others = [
        [*plan[:t], i, *plan[t + 1 :]]
        for t in range(len(feasible))
        for i in range(len(feasible.choices[t]))
    ]
    others = [indices for indices in others if feasible.meets(indices)]
    best = float(feasible.estimate(np.array([feasible.allocation.plan]))[0])
    measured = -feasible.problem.evaluate(feasible.plan(feasible.allocation.plan)).merit
    found = []
    for indices in others:
        estimated = float(feasible.estimate(np.array([indices]))[0])
        merit = walked(TrainingTask(feasible, "F0"), feasible, indices)
        assert merit == pytest.approx(max(-3.0, 1 - estimated / best))
        assert merit <= 0  # nothing is estimated to be better than the solver's plan
        gap = -feasible.problem.evaluate(feasible.plan(indices)).merit
        assert walked(TrainingTask(feasible, "F1"), feasible, indices) == pytest.approx(
            max(-3.0, 1 - gap / measured)
        )
        found.append(merit)
    assert len(set(found)) > 4 and min(found) == -3


def test_merits_end_at_minus_three(menus_of: Any) -> None:
    feasible = menus_of()[0]
    cheapest = [int(costs[:, 0].argmin()) for costs in feasible.allocation.costs]
    assert walked(TrainingTask(feasible, "F0"), feasible, cheapest) == -3


def test_a_lesson_without_loss_is_no_division_by_zero(menus_of: Any) -> None:
    known = menus_of()[0]
    nothing = [np.zeros_like(loss) for loss in known.losses]
    allocation = known.problem.allocation(known.choices, losses=lambda: nothing)
    feasible = FeasibleSpace(known.problem, known.space, known.layers, known.choices, allocation)
    lesson = TrainingTask(feasible, "F0")
    assert lesson.standard == 1e-9
    assert (
        walked(lesson, feasible, feasible.names.even()) == 1
    )  # 0 of the 1e-9 that stand for nothing


def test_estimates_alone_evaluate_nothing(menus_of: Any) -> None:
    menus = [feasible.under([str(b) for b in feasible.problem.budgets]) for feasible in menus_of()]
    env = MultiTaskEnv(menus, "F0")
    for lesson in range(3):
        _, value, _, _ = episode(env, task=lesson)
        assert math.isfinite(value) and value <= 0
    assert all(not feasible.problem._memo for feasible in menus)


def test_observations_are_those_of_the_layerwise_environment(menus_of: Any) -> None:
    menus = menus_of()
    env = MultiTaskEnv(menus, "F0")
    for lesson, feasible in enumerate(menus):
        alone = LayerwiseEnv(feasible)
        assert env.observation_space == alone.observation_space
        assert env.action_space == alone.action_space
        assert (env.reset(options={"task": lesson})[0] == alone.reset()[0]).all()
        action = env.action_space.sample()
        assert (env.step(action)[0] == alone.step(action)[0]).all()


# ---- the log of episodes


def test_the_best_episodes_are_those_of_each_lesson(menus_of: Any) -> None:
    env = MultiTaskEnv(menus_of(), "F0")
    env.action_space.seed(2)
    env.reset(seed=2)
    log = EpisodeLog(env)
    for _ in range(24):
        episode(log)
    assert len(log.tasks) == len(log.episodes) == 24
    for n in (1, 3):
        best = log.best(n)
        found: dict[int, list[float]] = {}
        for kept in best:
            place = next(i for i, one in enumerate(log.episodes) if one is kept)
            found.setdefault(log.tasks[place], []).append(returns(kept))
        assert set(found) == set(log.tasks) == {0, 1, 2}
        for lesson, values in found.items():
            of_lesson = {
                plan: returns(one)
                for at, plan, one in zip(log.tasks, log._plans, log.episodes, strict=True)
                if at == lesson
            }
            assert sorted(values) == sorted(of_lesson.values())[-n:]


def test_a_plan_repeats_within_its_lesson_only(menus_of: Any) -> None:
    menus = menus_of()
    loose, tight = menus[0], menus[1]
    log = EpisodeLog(MultiTaskEnv([loose, tight], "F0"))
    plan = tight.allocation.plan
    walked(log, tight, plan, task=1)
    assert not log.repeated
    walked(log, loose, plan, task=0)
    assert not log.repeated  # the same plan, at another budget
    walked(log, tight, plan, task=1)
    assert log.repeated
    assert log.tasks == [1, 0, 1]
    assert len(log.best(5)) == 2


# ---- what is refused


def test_no_menus_and_unequal_spaces_are_refused(problems: Any, menus_of: Any) -> None:
    with pytest.raises(AgentError, match="at least one problem"):
        MultiTaskEnv([])
    other = feasible_space(problems[1], "bits")
    with pytest.raises(AgentError, match="one action space") as caught:
        MultiTaskEnv([menus_of()[0], other])
    assert "\n" not in str(caught.value)
    with pytest.raises(AgentError, match="level"):
        MultiTaskEnv(menus_of(), "F2")
