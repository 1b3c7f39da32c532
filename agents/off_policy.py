"""What DDPG, TD3 and SAC share: replay of executed actions, decaying noise, cloning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from autocomp.agents.episodes import Episode, ScaledReturn
from autocomp.agents.reinforcement import ReinforcementAgent, best_episodes
from autocomp.agents.replay import DecayingNoise, ExecutedActionBuffer, scaled
from autocomp.envs import PlanMenu
from autocomp.envs.rewards import Reward
from gymnasium import spaces
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from autocomp.errors import AgentError

_CLONE_STEPS = 300
_PRETRAIN_STEPS = 400


class OffPolicyAgent(ReinforcementAgent):
    """Learns from replay; continuous spaces only.

    Args:
        env: "layerwise" or "whole-plan".
        reward: name of a reward, or a function.
        warm_up: share of the evaluations spent on the warm-up.
        sigma: deviation of the exploration noise in the first episode; the action interval is 2.
        decay: factor on it per episode.
        floor: its least value, which keeps the agent proposing new plans.
        learning_rate: of actor and critic.
    """

    algorithm: type[Any]
    extra: dict[str, Any] = {}  # noqa: RUF012

    def __init__(
        self,
        env: str = "layerwise",
        reward: str | Reward = "accuracy",
        warm_up: float = 0.25,
        sigma: float = 0.3,
        decay: float = 0.97,
        floor: float = 0.1,
        learning_rate: float = 3e-4,
    ) -> None:
        super().__init__(env, reward, warm_up)
        self.sigma, self.decay, self.floor = sigma, decay, floor
        self.learning_rate = learning_rate

    def check(self, menu: PlanMenu) -> None:
        """Raises AgentError for a discrete space."""
        if not isinstance(menu.space.action_space, spaces.Box):
            raise AgentError(
                f"`{self.algorithm.__name__.lower()}` needs a continuous space, but got "
                f"{menu.space.action_space}; leave out discrete=true or use ppo."
            )

    def build(self, env: ScaledReturn, menu: PlanMenu, seed: int) -> BaseAlgorithm:
        """Returns the algorithm with whole-episode returns."""
        steps = len(menu) if self.env == "layerwise" else 1
        space = env.action_space
        assert isinstance(space, spaces.Box)  # for the type checker; `check` refused others
        noise = DecayingNoise(
            space.shape[0], self.sigma, self.decay, self.floor, np.random.default_rng([seed, 1])
        )
        model: BaseAlgorithm = self.algorithm(
            "MlpPolicy", env, learning_rate=self.learning_rate, buffer_size=200 * steps + 10_000,
            learning_starts=0, batch_size=64, tau=0.01, gamma=1.0, train_freq=(1, "episode"),
            gradient_steps=2 * steps if steps > 1 else 20, action_noise=noise,
            replay_buffer_class=ExecutedActionBuffer,
            replay_buffer_kwargs={"n_steps": steps, "gamma": 1.0},
            policy_kwargs={"net_arch": [128, 128]}, seed=seed, device="cpu", **self.extra,
        )  # fmt: skip
        return model

    def prepare(self, model: Any, episodes: list[Episode], env: ScaledReturn) -> None:
        """Fills the replay, clones the best plans into the actor, and trains the critic a little."""
        for episode in episodes:
            for step in episode:
                info = {"executed_action": step.action}
                model.replay_buffer.add(
                    step.obs[None], step.next_obs[None], step.action[None].astype(np.float32),
                    np.array([env.scale(step.reward, step.done)]), np.array([step.done]), [info],
                )  # fmt: skip
        if not episodes:
            return
        best = [step for episode in best_episodes(episodes) for step in episode]
        _clone(model, best, env.action_space)
        if len(episodes) > 1:
            _train_critic(model)


def _train_critic(model: Any) -> None:
    """Trains on the replay and puts the actor back: it must not follow a critic that knows nothing."""
    before = copy.deepcopy(model.actor.state_dict())
    optimizer = copy.deepcopy(model.actor.optimizer.state_dict())
    model.train(gradient_steps=_PRETRAIN_STEPS, batch_size=model.batch_size)
    model.actor.load_state_dict(before)
    model.actor.optimizer.load_state_dict(optimizer)
    if isinstance(model, (DDPG, TD3)):
        model.actor_target.load_state_dict(before)


def _clone(model: Any, steps: Episode, space: Any) -> None:
    """Fits the actor's deterministic action to the executed actions of `steps`."""
    obs = torch.as_tensor(np.stack([step.obs for step in steps]))
    actions = torch.as_tensor(
        np.stack([scaled(step.action, space) for step in steps]), dtype=torch.float32
    )
    actor = model.actor
    optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    deterministic = {"deterministic": True} if isinstance(model, SAC) else {}
    for _ in range(_CLONE_STEPS):
        # inside +-0.95: at the ends tanh has no gradient left to learn with
        loss = (actor(obs, **deterministic) - actions.clamp(-0.95, 0.95)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if isinstance(model, (DDPG, TD3)):
        model.actor_target.load_state_dict(actor.state_dict())
