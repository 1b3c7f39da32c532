"""Training one policy on several problems and budgets, so that it can begin on another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.episodes import EpisodeLog, returns
from autocomp.agents.reinforcement.learner import Learner
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.agents.reinforcement.transfer import load_policy
from autocomp.agents.task import PolicyTask
from autocomp.envs import MultiTaskEnv
from autocomp.envs.multi_task import TrainingTask
from gymnasium import spaces
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn

from autocomp.errors import AgentError

SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)
"""Shares of a policy's action that are tried on tasks that it never saw."""
_FOREVER = 10**9
_AROUND = 2
"""Plans around the solver's that are shown, too, of each problem."""


def pretrain(agent: Learner, env: MultiTaskEnv, task: PolicyTask) -> Any:
    """Trains a policy and returns the algorithm of Stable-Baselines3.

    First it is shown the exact solver's plan of every problem, which it clones, and some plans
    around it; then it acts and learns. With every episode it is pulled towards the best plan that
    each problem has seen, as in a search.

    Args:
        agent: how to learn; layer by layer.
        env: the problems.
        task: how long, and from which seed; episodes that are shown count, too.

    Raises:
        AgentError: if the agent acts on whole plans, whose length depends on the network, cannot
            act in the space, or has fewer episodes than there are tasks.
    """
    if agent.env != "layerwise":
        raise AgentError(
            f"A policy that travels acts layer by layer, but got env={agent.env}; leave it out."
        )
    if task.n_episodes < len(env.tasks):
        raise AgentError(
            f"Training needs an episode for each of the {len(env.tasks)} tasks, but got "
            f"{task.n_episodes}; raise episodes, or give fewer budgets."
        )
    agent.check(env.longest)
    log = EpisodeLog(env)
    told = 0

    def tell() -> None:
        nonlocal told
        while told < len(log.episodes):
            if task.on_episode is not None:
                task.on_episode(told, log.tasks[told], returns(log.episodes[told]))
            told += 1

    with private_random_state():
        _demonstrate(log, env, task.n_episodes, np.random.default_rng(task.seed))
        tell()
        if len(log.episodes) > 1:
            log.set([returns(episode) for episode in log.episodes])
        env.reset(seed=task.seed)
        model: Any = agent.build(log, env.longest, task.seed)
        model.set_logger(Logger(folder=None, output_formats=[]))
        if agent.policy:
            load_policy(model, agent.policy)
        agent.prepare(model, log)
        if len(log.episodes) < task.n_episodes:
            model.learn(_FOREVER, callback=_Episodes(agent, log, task.n_episodes, tell))
    return model


def shrink_actions(model: Any, env: MultiTaskEnv) -> float:
    """Scales a continuous policy's action towards 0 as far as tasks that it never saw want it.

    What was learned on few tasks may be their quirks. The last layer of the action network is
    multiplied by the share of `SHARES` that has the best mean merit over these tasks, the largest
    of equal ones; at 0 the action is neutral where the space has a neutral one.

    Args:
        model: the algorithm; changed.
        env: tasks that it was not trained on.

    Returns:
        The share.
    """
    heads = [_last_linear(head) for head in _action_heads(model)]
    before = [(head.weight.detach().clone(), head.bias.detach().clone()) for head in heads]

    def scale(share: float) -> None:
        with torch.no_grad():
            for head, (weight, bias) in zip(heads, before, strict=True):
                head.weight.copy_(share * weight)
                head.bias.copy_(share * bias)

    merits = {}
    for share in SHARES:
        scale(share)
        merits[share] = float(np.mean([_merit(model, own) for own in env.tasks]))
    best = max(SHARES, key=lambda share: merits[share])
    scale(best)
    return best


def _merit(model: Any, own: TrainingTask) -> float:
    feasible = own.feasible
    return own.judged(feasible.allocation.settle(propose(model, feasible).indices), {}).merit


def _action_heads(model: Any) -> list[nn.Module]:
    """Returns what ends in the action, target networks included; none for a discrete policy."""
    if not isinstance(model.action_space, spaces.Box):
        return []
    if isinstance(model, OnPolicyAlgorithm):
        return [model.policy.action_net]
    targets = [model.actor_target.mu] if isinstance(model, TD3) else []  # DDPG is one
    return [model.actor.mu, *targets]


def _last_linear(head: nn.Module) -> nn.Linear:
    return [module for module in head.modules() if isinstance(module, nn.Linear)][-1]


def _demonstrate(
    log: EpisodeLog, env: MultiTaskEnv, n_episodes: int, rng: np.random.Generator
) -> None:
    for number, own in enumerate(env.tasks):
        feasible = own.feasible
        plans = [feasible.allocation.plan]
        plans += [
            feasible.actions.vary(feasible.allocation.plan, rng, layerwise=True)
            for _ in range(_AROUND)
        ]
        for plan in plans:
            actions = feasible.actions.step_actions(plan)
            later = len(env.tasks) - number - 1
            if actions is None or len(log.episodes) + later >= n_episodes:
                continue  # each problem's own plan is shown in any case
            log.reset(options={"task": number, "enforce_utilisation": False})
            for action in actions:
                log.step(action)


class _Episodes(BaseCallback):
    """Refreshes the agent before each rollout; ends the training after the last episode."""

    def __init__(
        self, agent: Learner, log: EpisodeLog, n_episodes: int, tell: Callable[[], None]
    ) -> None:
        super().__init__()
        self._agent, self._log, self._n_episodes, self._tell = agent, log, n_episodes, tell

    def _on_rollout_start(self) -> None:
        self._agent.refresh(self.model, self._log)

    def _on_step(self) -> bool:
        self._tell()
        return len(self._log.episodes) < self._n_episodes
