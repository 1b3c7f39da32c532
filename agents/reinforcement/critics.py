"""What the critics of Stable-Baselines3 expect of actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from autocomp.agents.policy import Critic
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from autocomp.allocation.pareto import Floats


class ActionCritic:
    """Q-functions, of which the least counts: all actions are judged at once."""

    unit = "Q: the return that the critic expects, in deviations of the first returns"
    grid = 17

    def __init__(self, model: Any) -> None:
        self._critic = model.critic

    @torch.no_grad()
    def values(
        self, observations: NDArray[np.float32], actions: Floats
    ) -> NDArray[np.float64] | None:
        """See `Critic`."""
        judged = self._critic(
            torch.as_tensor(observations), torch.as_tensor(actions, dtype=torch.float32)
        )
        least: NDArray[np.float64] = torch.cat(judged, 1).min(1).values.double().numpy()
        return least

    def state_value(self, observation: NDArray[np.float32]) -> float:
        """Raises NotImplementedError: this critic judges actions."""
        raise NotImplementedError("a critic of actions has no value of a state")


class StateCritic:
    """A value function: an action is worth what the state that follows is."""

    unit = "V of the state that follows, in deviations of the first returns"
    grid = 9

    def __init__(self, model: Any) -> None:
        self._policy = model.policy

    def values(
        self, observations: NDArray[np.float32], actions: Floats
    ) -> NDArray[np.float64] | None:
        """Returns None: the environment has to take the step."""
        return None

    @torch.no_grad()
    def state_value(self, observation: NDArray[np.float32]) -> float:
        """See `Critic`."""
        return float(self._policy.predict_values(torch.as_tensor(observation[None])))


def critic_of(model: Any) -> Critic:
    """Returns the critic of an algorithm of Stable-Baselines3."""
    return ActionCritic(model) if isinstance(model, OffPolicyAlgorithm) else StateCritic(model)
