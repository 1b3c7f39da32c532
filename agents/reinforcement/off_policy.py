"""What DDPG, TD3 and SAC share: replay of executed actions, decaying noise, cloning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.reinforcement.replay import DecayingNoise, ExecutedActionBuffer, scaled
from autocomp.envs.rewards import Reward
from autocomp.search_spaces import FeasibleSpace
from gymnasium import spaces
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_real, check_whole

_ELITES = 1
_SAC_LOG_STD = -3.0


class SlowActor:
    """Mixed into an algorithm of Stable-Baselines3: the actor learns at a tenth of the rate."""

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)  # type: ignore[misc]
        for group in self.actor.optimizer.param_groups:  # type: ignore[attr-defined]
            group["lr"] *= 0.1


class OffPolicyAgent(ReinforcementAgent):
    """Learns from replay; continuous spaces only.

    Args:
        env: "layerwise" or "whole-plan".
        reward: name of a reward, or a function.
        warm_up: share of the evaluations spent on the warm-up.
        policy: run folder, or `agent.zip`, of a policy to begin with.
        sigma: deviation of the exploration noise in the first episode; the action interval is 2
            wide. Of log-multipliers in the `coefficients` space; `floor` likewise.
        decay: factor on it per episode.
        floor: its least value, which keeps the agent proposing new plans.
        share: share of the layers that are disturbed in an episode.
        learning_rate: of the critic; the actor's is a tenth (AMC's ratio).
        imitation: steps per episode that pull the actor towards the best plans so far.
        width: units of each of the two hidden layers of actor and critic.
        clone_steps: gradient steps in which the actor is fitted to the warm-up's best plan.
        pretrain_steps: gradient steps of the critic on the warm-up, before learning begins.
        updates: gradient steps per episode; 0 for two a layer, and for 20 on whole plans.

    Raises:
        AgentError: if an option is out of range.
    """

    algorithm: type[Any]
    extra: dict[str, Any] = {}  # noqa: RUF012

    def __init__(
        self,
        env: str = "layerwise",
        reward: str | Reward = "merit",
        warm_up: float = 0.2,
        policy: str = "",
        sigma: float = 0.4,
        decay: float = 0.97,
        floor: float = 0.1,
        share: float = 0.4,
        learning_rate: float = 1e-3,
        imitation: int = 20,
        width: int = 128,
        clone_steps: int = 300,
        pretrain_steps: int = 400,
        updates: int = 0,
    ) -> None:
        super().__init__(env, reward, warm_up, policy, width, clone_steps)
        check_whole(
            AgentError, imitation=(imitation, 0, 100_000), updates=(updates, 0, 100_000),
            pretrain_steps=(pretrain_steps, 0, 1_000_000),
        )  # fmt: skip
        check_real(
            AgentError, sigma=(sigma, 0, 100), decay=(decay, 0, 1), floor=(floor, 0, 100),
            share=(share, 0, 1), learning_rate=(learning_rate, 0, 1),
        )  # fmt: skip
        self.sigma, self.decay, self.floor = sigma, decay, floor
        self.share, self.learning_rate = share, learning_rate
        self.imitation, self.pretrain_steps = imitation, pretrain_steps
        self.updates = updates

    def check(self, feasible: FeasibleSpace) -> None:
        """Raises AgentError for a discrete space."""
        if not isinstance(feasible.space.action_space, spaces.Box):
            raise AgentError(
                f"`{self.algorithm.__mro__[2].__name__.lower()}` needs a continuous space, but got "
                f"{feasible.space.action_space}; leave out discrete=true or use ppo."
            )

    def build(self, env: EpisodeLog, feasible: FeasibleSpace, seed: int) -> BaseAlgorithm:
        """Returns the algorithm with whole-episode returns."""
        steps = len(feasible) if self.env == "layerwise" else 1
        space = env.action_space
        assert isinstance(space, spaces.Box)  # for the type checker; `check` refused others
        spread = feasible.actions.spread
        noise = DecayingNoise(
            space.shape[0], self.sigma * spread, self.decay, self.floor * spread,
            self.share if steps > 1 else 1.0, np.random.default_rng([seed, 1]),
        )  # fmt: skip
        model: BaseAlgorithm = self.algorithm(
            "MlpPolicy", env, learning_rate=self.learning_rate, buffer_size=200 * steps + 10_000,
            learning_starts=0, batch_size=64, tau=0.01, gamma=1.0, train_freq=(1, "episode"),
            gradient_steps=self.updates or (2 * steps if steps > 1 else 20), action_noise=noise,
            replay_buffer_class=ExecutedActionBuffer,
            replay_buffer_kwargs={"n_steps": steps, "gamma": 1.0},
            policy_kwargs={"net_arch": [self.width] * 2}, seed=seed, device="cpu", **self.extra,
        )  # fmt: skip
        return model

    def prepare(self, model: Any, env: EpisodeLog) -> None:
        """Fills the replay, clones the best plans into the actor, and pre-trains the critic."""
        for episode in env.episodes:
            rewards = [step.reward for step in episode]
            for t, step in enumerate(episode):
                info = {"executed_action": step.action}
                reward = env.scale(rewards[: t + 1], step.done)
                model.replay_buffer.add(
                    step.obs[None], step.next_obs[None], step.action[None].astype(np.float32),
                    np.array([reward]), np.array([step.done]), [info],
                )  # fmt: skip
        if env.episodes:
            _clone(model, env, _ELITES, self.clone_steps)
        if len(env.episodes) > 1 and self.pretrain_steps:
            _train_critic(model, self.pretrain_steps)

    def refresh(self, model: Any, env: EpisodeLog) -> None:
        """Pulls the actor towards the best plans so far (Oh et al. 2018, arXiv:1806.05635).

        A critic that saw a hundred episodes is trusted for a direction, not for a distance: without
        this the actor walks out of the region that the critic knows.
        """
        if env.episodes:
            _clone(model, env, _ELITES, self.imitation)
        if env.repeated:
            model.action_noise.widen()


def _train_critic(model: Any, n_steps: int) -> None:
    """Trains on the replay and puts the actor back: an ignorant critic must not lead it."""
    before = copy.deepcopy(model.actor.state_dict())
    optimizer = copy.deepcopy(model.actor.optimizer.state_dict())
    model.train(gradient_steps=n_steps, batch_size=model.batch_size)
    model.actor.load_state_dict(before)
    model.actor.optimizer.load_state_dict(optimizer)
    if isinstance(model, (DDPG, TD3)):
        model.actor_target.load_state_dict(before)


def _clone(model: Any, env: EpisodeLog, n_episodes: int, n_steps: int) -> None:
    """Fits the actor's deterministic action to what the best episodes executed."""
    steps = [step for episode in env.best(n_episodes) for step in episode]
    obs = torch.as_tensor(np.stack([step.obs for step in steps]))
    actions = torch.as_tensor(
        np.stack([scaled(step.action, env.action_space) for step in steps]), dtype=torch.float32
    )
    actor = model.actor
    optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    # inside +-0.95: at the ends tanh has no gradient left to learn with
    actions = actions.clamp(-0.95, 0.95)
    for _ in range(n_steps):
        if isinstance(model, SAC):
            mean, log_std, _ = actor.get_action_dist_params(obs)
            # an untrained actor draws from the whole interval; the noise process explores enough
            loss = (torch.tanh(mean) - actions).square().mean()
            loss = loss + (log_std - _SAC_LOG_STD).square().mean()
        else:
            loss = (actor(obs) - actions).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if isinstance(model, (DDPG, TD3)):
        model.actor_target.load_state_dict(actor.state_dict())
