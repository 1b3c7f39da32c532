"""What the reinforcement-learning agents share: warm-up, cloning, the stop, repeatability."""

from __future__ import annotations

import copy
from abc import abstractmethod
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.policy import LearnedPolicy, propose
from autocomp.agents.reinforcement.checkpoints import NETWORKS, PolicyCheckpoints, save
from autocomp.agents.reinforcement.critics import critic_of
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow, returns
from autocomp.agents.reinforcement.pretrain import pretrain, shrink_actions
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.agents.reinforcement.transfer import algorithm_of, load_policy, policy_file
from autocomp.agents.starts import given_plans, starting_plans
from autocomp.agents.task import PolicyTask, SearchResult, SearchTask, TrainedAgent
from autocomp.envs import ENVS, MultiTaskEnv
from autocomp.envs.rewards import Reward, find_reward
from autocomp.search_spaces import FeasibleSpace
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure

from autocomp.errors import AgentError, unknown
from autocomp.plugins.bounds import check_whole

_FOREVER = 10**9


class ReinforcementAgent(Agent):
    """A Stable-Baselines3 algorithm on one of the environments.

    A search warms up on the plans it is given, or else on the solver's and a few uniform ones, and
    on plans around the best so far, starts the policy as a clone of the best, and then learns until
    the evaluations are used up.

    Args:
        env: "layerwise" (one layer a step) or "whole-plan" (one step).
        reward: name of a reward, or a function.
        warm_up: share of the evaluations spent on the warm-up.
        policy: run folder, or `agent.zip`, of a policy to begin with ("" for none): its plan is
            tried first, and its networks go on learning.
        width: units of each of the two hidden layers of its networks.
        clone_steps: gradient steps in which the policy is fitted to the best plan of the warm-up.

    In the task's folder a search leaves its networks, and looks at its policy.
    """

    def __init__(
        self, env: str = "layerwise", reward: str | Reward = "merit", warm_up: float = 0.2,
        policy: str = "", width: int = 128, clone_steps: int = 300,
    ) -> None:  # fmt: skip
        if env not in ENVS:
            raise AgentError(unknown("environment", env, ENVS))
        if not 0 <= warm_up < 1:
            raise AgentError(f"`0 <= warm_up < 1` must hold, but got {warm_up=}.")
        check_whole(AgentError, width=(width, 1, 4096), clone_steps=(clone_steps, 0, 1_000_000))
        self.env = env
        self.reward = find_reward(reward)
        self.warm_up = warm_up
        self.width, self.clone_steps = width, clone_steps
        self.policy = str(policy and policy_file(policy))  # a missing file is refused at once

    @abstractmethod
    def check(self, feasible: FeasibleSpace) -> None:
        """Raises AgentError if the algorithm cannot act in the space."""

    @abstractmethod
    def build(self, env: EpisodeLog, feasible: FeasibleSpace, seed: int) -> BaseAlgorithm:
        """Returns the algorithm, ready to learn in `env`."""

    @abstractmethod
    def prepare(self, model: Any, env: EpisodeLog) -> None:
        """Teaches the algorithm the episodes of the warm-up."""

    def refresh(self, model: Any, env: EpisodeLog) -> None:  # noqa: B027
        """Called before each rollout; does nothing unless the algorithm wants it."""

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible = task.feasible
        self.check(feasible)
        evaluator = Evaluator(task)
        given = given_plans(task)
        env = EpisodeLog(
            gymnasium.make(
                ENVS[self.env], problem=feasible, reward=self.reward, evaluate=evaluator.evaluate,
                disable_env_checker=True,
            )
        )  # fmt: skip
        checkpoints = None
        if task.folder is not None:
            checkpoints = PolicyCheckpoints(task.folder, feasible, self.env, task.n_evaluations)
        with private_random_state():
            learned = []
            if self.policy:
                proposal = propose(self.learned(env.env, feasible, task.seed), feasible, self.env)
                learned = [feasible.allocation.settle(proposal.indices)]
            self._warm_up(env, feasible, evaluator, given, learned, task.seed)
            if len(env.episodes) > 1:
                env.set([returns(episode) for episode in env.episodes])
            model = self.build(env, feasible, task.seed)
            model.set_logger(_logger(task.tensorboard))
            if self.policy:
                load_policy(model, self.policy)
            self.prepare(model, env)
            if not evaluator.spent:
                model.learn(
                    _FOREVER, callback=_Learning(self, env, evaluator, checkpoints), log_interval=1,
                    reset_num_timesteps=True,
                )  # fmt: skip
            model.logger.close()
            if checkpoints is not None:
                checkpoints.look(model, len(evaluator.outcomes), last=True)
        return SearchResult(evaluator.outcomes, lambda folder: save(model, folder))

    def with_policy(self, policy: str) -> ReinforcementAgent:
        """See `Agent.with_policy`; AgentError if there is no such file."""
        own = copy.copy(self)
        own.policy = str(policy_file(policy))
        return own

    def train_policy(self, task: PolicyTask) -> TrainedAgent:
        """See `Agent.train_policy`."""
        env = MultiTaskEnv(task.feasibles, task.level)
        model = pretrain(self, env, task)
        share = 1.0
        if task.unseen:
            share = shrink_actions(model, MultiTaskEnv(task.unseen, task.level))
        return TrainedAgent(share, lambda folder: save(model, folder), model)

    def learned_policy(self, folder: Path, feasible: FeasibleSpace) -> LearnedPolicy | None:
        """See `Agent.learned_policy`."""
        if not (folder / NETWORKS).exists():
            return None
        with (
            private_random_state(),
            gymnasium.make(ENVS[self.env], problem=feasible, disable_env_checker=True) as env,
        ):
            model = self.with_policy(str(folder)).learned(env, feasible)
        return LearnedPolicy(algorithm_of(model), self.env, model, critic_of(model))

    def learned(self, env: gymnasium.Env[Any, Any], feasible: FeasibleSpace, seed: int = 0) -> Any:
        """Returns the algorithm with the networks that `policy` names."""
        model: Any = self.build(EpisodeLog(env), feasible, seed)
        load_policy(model, self.policy)
        return model

    def _warm_up(
        self, env: EpisodeLog, feasible: FeasibleSpace, evaluator: Evaluator,
        given: list[list[int]], learned: list[list[int]], seed: int,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        # a search of very few evaluations still tries one plan before it learns
        wanted = max(1, round(self.warm_up * evaluator.n_evaluations))
        first = [*given, *learned]
        for plan in first or starting_plans(feasible, max(1, min(4, wanted // 2))):
            if not evaluator.spent and not follow(env, feasible, plan) and first:
                evaluator.evaluate(feasible.plan(plan))  # no action makes it; nothing to replay
        for _ in range(10 * wanted):  # proposals may repeat in a small space
            if len(evaluator.outcomes) >= wanted or evaluator.spent:
                break
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            plan = feasible.actions.vary(feasible.indices(best.plan), rng, self.env == "layerwise")
            if not evaluator.seen(feasible.plan(plan)):
                follow(env, feasible, plan)


class _Learning(BaseCallback):
    """Refreshes the agent before each rollout; ends learning when the evaluations are used up."""

    def __init__(
        self, agent: ReinforcementAgent, env: EpisodeLog, evaluator: Evaluator,
        checkpoints: PolicyCheckpoints | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._agent, self._env = agent, env
        self._evaluator, self._checkpoints = evaluator, checkpoints

    def _on_rollout_start(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.look(self.model, len(self._evaluator.outcomes))
        self._agent.refresh(self.model, self._env)

    def _on_step(self) -> bool:
        return not self._evaluator.spent


def _logger(folder: Path | None) -> Logger:
    if folder is None:
        return Logger(folder=None, output_formats=[])
    return configure(str(folder), ["tensorboard"])
