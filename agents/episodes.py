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


def follow(env: gymnasium.Env[Any, Any], menu: PlanMenu, indices: list[int]) -> Episode:
    """Runs one episode along a plan, given as choice indices; works for both environments."""
    if env.action_space == menu.vector.action_space:
        actions = [menu.vector.encode(menu.plan(indices))]
    else:
        actions = [menu.action(t, index) for t, index in enumerate(indices)]
    episode = []
    obs, _ = env.reset()
    for action in actions:
        next_obs, reward, done, _, info = env.step(action)
        episode.append(Transition(obs, next_obs, info["executed_action"], float(reward), done))
        obs = next_obs
    return episode


class ScaledReturn(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Shifts and scales rewards so that returns have about mean 0 and deviation 1.

    r' = (r - [last step] * mean) / deviation. Accuracies of plans within one budget differ by
    hundredths, which a critic would otherwise take for noise. Until `set` is called nothing changes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.mean, self.deviation = 0.0, 1.0

    def set(self, seen: list[float]) -> None:
        """Takes mean and deviation of the returns `seen`."""
        self.mean = float(np.mean(seen))
        self.deviation = max(float(np.std(seen)), 1e-3)

    def scale(self, reward: float, done: bool) -> float:
        """Returns the scaled reward."""
        return (reward - self.mean * done) / self.deviation

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps and scales the reward."""
        obs, reward, done, truncated, info = self.env.step(action)
        return obs, self.scale(float(reward), done), done, truncated, info
