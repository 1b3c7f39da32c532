"""Driving an environment along given plans, and scaling its returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from autocomp.search_spaces.feasible_space import FeasibleSpace
from numpy.typing import NDArray

from autocomp.core.plan import Plan


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


def follow(env: gymnasium.Env[Any, Any], feasible: FeasibleSpace, indices: list[int]) -> bool:
    """Runs one episode along a feasible plan, given as choice indices, in either environment.

    Returns:
        Whether the space has actions that make the plan; if not, nothing is run.
    """
    if env.action_space == feasible.vector.action_space:
        whole = feasible.actions.whole_action(indices)
        actions = None if whole is None else [whole]
    else:
        actions = feasible.actions.step_actions(indices)
    if actions is None:
        return False
    env.reset(options={"enforce_utilisation": False})
    for action in actions:
        env.step(action)
    return True


class EpisodeLog(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps every episode with its executed actions, and scales the rewards that are handed on.

    r' = (r - [last step] * mean) / deviation, with mean and deviation of the better half of the
    first episodes; the last step makes an episode's sum -3 where it would be less. Accuracies of
    good plans differ by hundredths, which a critic would otherwise take for noise. Until `set` is
    called nothing changes. What is kept is unscaled.

    An environment of several problems says in `info["task"]` which one an episode was about.

    Attributes:
        episodes: the finished episodes, in order.
        tasks: which problem each was about; 0 where there is one.
        repeated: whether the last episode did what an earlier one did.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.mean, self.deviation = 0.0, 1.0
        self.episodes: list[Episode] = []
        self.tasks: list[int] = []
        self.repeated = False
        self._plans: list[Plan] = []  # actions may differ and make the same plan
        self._current: Episode = []
        self._obs: Any = None

    def set(self, seen: list[float]) -> None:
        """Takes mean and deviation of the better half of the returns `seen`."""
        better = sorted(seen)[len(seen) // 2 :]
        self.mean = float(np.mean(better))
        self.deviation = max(float(np.std(better)), 1e-3)

    def scale(self, rewards: Sequence[float], done: bool) -> float:
        """Returns the last of an episode's rewards so far, scaled."""
        scaled = (rewards[-1] - self.mean * done) / self.deviation
        if not done:
            return scaled
        # the sum alone is bounded: a bound on each step would undo the shaping of a dense reward
        return max(scaled, -3.0 - sum(rewards[:-1]) / self.deviation)

    def best(self, n: int) -> list[Episode]:
        """Returns the `n` episodes of largest return of each task, no plan twice."""
        found: dict[int, dict[Plan, Episode]] = {}
        made = zip(self.tasks, self._plans, self.episodes, strict=True)
        for task, plan, episode in sorted(made, key=lambda x: returns(x[2]), reverse=True):
            kept = found.setdefault(task, {})
            if len(kept) < n:
                kept.setdefault(plan, episode)
        return [episode for kept in found.values() for episode in kept.values()]

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
            task, plan = info.get("task", 0), info["plan"]
            made = zip(self.tasks, self._plans, strict=True)
            self.repeated = (task, plan) in made
            self.tasks.append(task)
            self._plans.append(plan)
            self.episodes.append(self._current)
        rewards = [step.reward for step in self._current]
        return obs, self.scale(rewards, done), done, truncated, info
