"""Proximal policy optimisation, on continuous spaces and on discrete menus."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.reinforcement.replay import scaled
from autocomp.envs.rewards import Reward
from autocomp.search_spaces import FeasibleSpace
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_real, check_whole

_ELITES = 1
_LEAST_SIGMA = 0.08
_WIDEST = 3.0


class PPOAgent(ReinforcementAgent):
    """PPO of Stable-Baselines3 (Schulman et al. 2017, arXiv:1707.06347).

    It learns from the action it drew: its likelihood ratio is defined for nothing else, and the
    projection onto the budgets is part of the environment. The spread of a continuous policy starts
    at `sigma`, shrinks with each update by `decay`, and widens while plans repeat.

    Args:
        env: "layerwise" or "whole-plan".
        reward: name of a reward, or a function.
        warm_up: share of the evaluations spent on the warm-up.
        policy: run folder, or `agent.zip`, of a policy to begin with.
        episodes: episodes per update.
        sigma: initial deviation of a continuous policy; the action interval is 2 wide. Of
            log-multipliers in the `coefficients` space.
        decay: factor on it per update.
        learning_rate: of policy and value.
        width: units of each of the two hidden layers of policy and value.
        clone_steps: gradient steps in which the policy is fitted to the warm-up's best plan.

    Raises:
        AgentError: if an option is out of range.
    """

    def __init__(
        self,
        env: str = "layerwise",
        reward: str | Reward = "merit",
        warm_up: float = 0.2,
        policy: str = "",
        episodes: int = 5,
        sigma: float = 0.2,
        decay: float = 0.93,
        learning_rate: float = 1e-3,
        width: int = 128,
        clone_steps: int = 300,
    ) -> None:
        super().__init__(env, reward, warm_up, policy, width, clone_steps)
        check_whole(AgentError, episodes=(episodes, 1, 1000))
        check_real(
            AgentError, sigma=(sigma, 1e-6, 100), decay=(decay, 1e-6, 1),
            learning_rate=(learning_rate, 0, 1),
        )  # fmt: skip
        self.episodes, self.sigma, self.decay = episodes, sigma, decay
        self.learning_rate = learning_rate

    def check(self, feasible: FeasibleSpace) -> None:
        """Raises AgentError for a space that is none of Box, Discrete and MultiDiscrete."""
        if not isinstance(
            feasible.space.action_space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete)
        ):
            raise AgentError(
                "`ppo` needs Box, Discrete or MultiDiscrete, but got "
                f"{feasible.space.action_space}."
            )

    def build(self, env: EpisodeLog, feasible: FeasibleSpace, seed: int) -> BaseAlgorithm:
        """Returns PPO with updates of a few whole episodes."""
        steps = len(feasible) if self.env == "layerwise" else 1
        n_steps = max(2, self.episodes * steps)
        continuous = isinstance(env.action_space, spaces.Box)
        sigma = self.sigma * feasible.actions.spread
        return _AnnealedPPO(
            "MlpPolicy", env, learning_rate=self.learning_rate, n_steps=n_steps,
            batch_size=n_steps, n_epochs=10, gamma=1.0, gae_lambda=0.95,
            clip_range=0.2, ent_coef=0.0 if continuous else 0.003, seed=seed, device="cpu",
            policy_kwargs={
                "net_arch": [self.width] * 2,
                **({"log_std_init": float(np.log(sigma))} if continuous else {}),
            },
            decay=self.decay,
            between=(_LEAST_SIGMA * feasible.actions.spread, _WIDEST * sigma),
        )  # fmt: skip

    def prepare(self, model: Any, env: EpisodeLog) -> None:
        """Clones the best plans into the policy by maximum likelihood."""
        if not env.episodes:
            return
        steps = [step for episode in env.best(_ELITES) for step in episode]
        obs = torch.as_tensor(np.stack([step.obs for step in steps]))
        actions = torch.as_tensor(np.stack([scaled(s.action, env.action_space) for s in steps]))
        policy = model.policy
        deviation = [p for name, p in policy.named_parameters() if name == "log_std"]
        fitted = [p for p in policy.parameters() if all(p is not d for d in deviation)]
        optimizer = torch.optim.Adam(fitted, lr=1e-3)
        for _ in range(self.clone_steps):
            _, log_likelihood, _ = policy.evaluate_actions(obs, actions)
            # discrete menus: a probability near 1 would end exploration before it began
            loss = -log_likelihood.clamp(max=_ceiling(env.action_space)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def refresh(self, model: Any, env: EpisodeLog) -> None:
        """Widens the spread if the last episode found nothing new."""
        if env.repeated:
            model.spread_by(1.5)


def _ceiling(space: spaces.Space[Any]) -> float:
    if isinstance(space, spaces.Discrete):
        return float(np.log(0.6))
    if isinstance(space, spaces.MultiDiscrete):
        return float(np.log(0.6)) * len(space.nvec)
    return float("inf")


class _AnnealedPPO(PPO):
    """PPO whose continuous spread shrinks once per update."""

    def __init__(
        self,
        *args: Any,
        decay: float = 1.0,
        between: tuple[float, float] = (1e-3, 10.0),
        **kwargs: Any,
    ) -> None:
        self._decay, self._between = decay, between
        super().__init__(*args, **kwargs)

    def train(self) -> None:
        super().train()
        self.spread_by(self._decay)

    def spread_by(self, factor: float) -> None:
        """Multiplies a continuous policy's deviation."""
        deviation = getattr(self.policy, "log_std", None)
        if deviation is not None:
            with torch.no_grad():
                deviation.add_(float(np.log(factor))).clamp_(*map(float, np.log(self._between)))
