"""Replay holds executed actions and whole-episode returns; noise decays by episode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow, returns
from autocomp.agents.reinforcement.replay import DecayingNoise, ExecutedActionBuffer, scaled
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import FeasibleSpace, make_space
from gymnasium import spaces


def buffer(width: int = 1, low: float = -1.0, high: float = 1.0) -> ExecutedActionBuffer:
    return ExecutedActionBuffer(
        50, spaces.Box(-1, 1, (1,), np.float32), spaces.Box(low, high, (width,), np.float32),
        n_steps=3, gamma=1.0,
    )  # fmt: skip


def test_the_executed_action_is_stored() -> None:
    replay = buffer()
    asked, done = np.array([[0.9]], np.float32), np.array([0.25], np.float32)
    replay.add(
        np.zeros((1, 1)), np.zeros((1, 1)), asked, np.zeros(1), np.zeros(1),
        [{"executed_action": done}],
    )  # fmt: skip
    assert replay.actions[0, 0, 0] == np.float32(0.25)


def test_other_intervals_are_scaled() -> None:
    assert scaled(np.array([5.0]), spaces.Box(0.0, 10.0, (1,)))[0] == pytest.approx(0.0)
    assert scaled(np.array([2]), spaces.MultiDiscrete([4]))[0] == 2


def test_returns_are_those_of_whole_episodes() -> None:
    replay = buffer()
    for step, reward in enumerate([0.0, 1.0, 5.0]):
        replay.add(
            np.full((1, 1), step / 10), np.full((1, 1), (step + 1) / 10), np.zeros((1, 1)),
            np.array([reward]), np.array([float(step == 2)]),
            [{"executed_action": np.zeros(1, np.float32)}],
        )  # fmt: skip
    batch = replay._get_samples(np.array([0, 1, 2]))
    assert batch.rewards.reshape(-1).tolist() == [6.0, 6.0, 5.0]
    assert batch.dones.reshape(-1).tolist() == [1.0, 1.0, 1.0]


def test_noise_decays_per_episode_to_its_floor() -> None:
    noise = DecayingNoise(2, 0.4, 0.5, 0.15, 1.0, np.random.default_rng(0))
    spread = []
    for _ in range(3):
        spread.append(float(np.std([noise() for _ in range(4000)])))
        noise.reset()
    assert spread == pytest.approx([0.4, 0.2, 0.15], rel=0.05)


def test_a_share_of_the_steps_is_disturbed() -> None:
    noise = DecayingNoise(1, 1.0, 1.0, 0.1, 0.25, np.random.default_rng(0))
    share = np.mean([noise()[0] != 0 for _ in range(4000)])
    assert share == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("kind", [LayerwiseEnv, WholePlanEnv])
def test_following_a_plan_does_just_that(kind: Any, toy: Any) -> None:
    feasible = FeasibleSpace.build(toy, make_space("joint:levels=4,weight_bits=2/4/8"))
    log = EpisodeLog(kind(feasible))
    rng = np.random.default_rng(0)
    for _ in range(5):
        indices = feasible.actions.fit(rng.uniform(-1, 1, (len(feasible), 2)))
        follow(log, feasible, indices)
        assert toy.evaluated[-1] == feasible.plan(indices)
    assert len(log.episodes) == 5
    assert returns(log.best(1)[0]) == max(-toy.loss(plan) for plan in toy.evaluated)


def test_rewards_are_scaled_and_the_log_is_not(toy: Any) -> None:
    log = EpisodeLog(WholePlanEnv(FeasibleSpace.build(toy, make_space("bits"))))
    log.set([-0.9, -1.2, -0.5, -0.3])  # the better half counts
    log.reset()
    _, reward, *_ = log.step(np.zeros(4, np.float32))
    raw = -toy.loss(toy.evaluated[-1])
    assert reward == pytest.approx(max((raw + 0.4) / 0.1, -3))
    assert returns(log.episodes[0]) == pytest.approx(raw)
    assert isinstance(log, gymnasium.Wrapper)
