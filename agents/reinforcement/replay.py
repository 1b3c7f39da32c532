"""Replay of what was executed, with whole-episode returns."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.noise import ActionNoise


class ExecutedActionBuffer(NStepReplayBuffer):
    """Stores the action that the environment executed, not the one that was asked for.

    AMC stores the latter, so that its critic learns values of actions that never happened. The
    returns are those of whole episodes (n-step returns with n = the episode's length and gamma 1),
    which carry the terminal reward to the first layer at once.
    """

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Adds one transition per environment; `infos` must hold `executed_action`."""
        executed = np.stack([scaled(info["executed_action"], self.action_space) for info in infos])
        super().add(obs, next_obs, executed.reshape(action.shape), reward, done, infos)


def scaled(action: NDArray[Any], space: spaces.Space[Any]) -> NDArray[Any]:
    """Returns a Box action mapped to [-1, 1], which is how replay holds it."""
    if not isinstance(space, spaces.Box):
        return action
    result: NDArray[Any] = 2 * (action - space.low) / (space.high - space.low) - 1
    return result


class DecayingNoise(ActionNoise):
    """Normal noise on some of the steps, whose deviation shrinks once per episode.

    sigma_e = max(floor, sigma * decay**e), e being the number of episodes so far (AMC's schedule).
    A step is disturbed with probability `share`: changing every layer at once says little about
    any of them.
    """

    def __init__(
        self,
        width: int,
        sigma: float,
        decay: float,
        floor: float,
        share: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        self.share = share
        self._first = sigma
        self.width = width
        self.sigma = sigma
        self.decay = decay
        self.floor = floor
        self._rng = rng

    def __call__(self) -> NDArray[np.float32]:
        """Returns the noise of one step."""
        disturbed = self._rng.random() < self.share
        return (self._rng.normal(0, self.sigma, self.width) * disturbed).astype(np.float32)

    def reset(self) -> None:
        """Ends an episode."""
        self.sigma = max(self.floor, self.sigma * self.decay)

    def widen(self) -> None:
        """Undoes some of the decay: the last episode found nothing new."""
        self.sigma = min(self._first, self.sigma * 1.5)
