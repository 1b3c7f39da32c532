"""Driving an environment along given plans, and scaling its returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from autocomp.envs.menu import PlanMenu
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transition:
    """One step of an episode, with the action that was executed."""

    obs: NDArray[np.float32]
    next_obs: NDArray[np.float32]
    action: NDArray[Any]
    reward: float
    done: bool


Episode = list[Transition]


def returns(episode: Episode) -> float:
    """Sum of the episode's rewards."""
    return sum(step.reward for step in episode)


def follow(env: gymnasium.Env[Any, Any], menu: PlanMenu, indices: list[int]) -> None:
    """Runs one episode along a plan, given as choice indices; works for both environments."""
    if env.action_space == menu.vector.action_space:
        actions = [menu.vector.encode(menu.plan(indices))]
    else:
        actions = [menu.action(t, index) for t, index in enumerate(indices)]
    env.reset()
    for action in actions:
        env.step(action)


class EpisodeLog(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps every episode with its executed actions, and scales the rewards that are handed on.

    r' = (r - [last step] * mean) / deviation, at least -3, with mean and deviation of the better
    half of the first episodes. Accuracies of good plans differ by hundredths, which a critic would
    otherwise take for noise. Until `set` is called nothing changes. What is kept is unscaled.

    Attributes:
        episodes: the finished episodes, in order.
        repeated: whether the last episode did what an earlier one did.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.mean, self.deviation = 0.0, 1.0
        self.episodes: list[Episode] = []
        self.repeated = False
        self._keys: set[bytes] = set()
        self._current: Episode = []
        self._obs: Any = None

    def set(self, seen: list[float]) -> None:
        """Takes mean and deviation of the better half of the returns `seen`."""
        better = sorted(seen)[len(seen) // 2 :]
        self.mean = float(np.mean(better))
        self.deviation = max(float(np.std(better)), 1e-3)

    def scale(self, reward: float, done: bool) -> float:
        """Returns the scaled reward."""
        return max((reward - self.mean * done) / self.deviation, -3.0)

    def best(self, n: int) -> list[Episode]:
        """Returns the `n` episodes of largest return, no plan twice."""
        found: dict[bytes, Episode] = {}
        for episode in sorted(self.episodes, key=returns, reverse=True):
            found.setdefault(_key(episode), episode)
            if len(found) == n:
                break
        return list(found.values())

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        self._obs, info = self.env.reset(**options)
        self._current = []
        return self._obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps, keeps the transition, and scales the reward."""
        obs, reward, done, truncated, info = self.env.step(action)
        executed = np.asarray(info["executed_action"])
        self._current.append(Transition(self._obs, obs, executed, float(reward), done))
        self._obs = obs
        if done:
            key = _key(self._current)
            self.repeated = key in self._keys
            self._keys.add(key)
            self.episodes.append(self._current)
        return obs, self.scale(float(reward), done), done, truncated, info


def _key(episode: Episode) -> bytes:
    return b"".join(step.action.tobytes() for step in episode)
