"""What the reinforcement-learning agents share: warm-up, cloning, the stop, repeatability."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.reinforcement.checkpoints import PolicyCheckpoints, save
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow, returns
from autocomp.agents.reinforcement.proposal import propose
from autocomp.agents.reinforcement.transfer import load_policy, policy_file
from autocomp.agents.starts import given_plans, starting_plans
from autocomp.envs import ENVS, PlanMenu, make_menu
from autocomp.envs.rewards import Reward, find_reward
from autocomp.search_spaces import SearchSpace
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure

from autocomp.core.plan import Plan
from autocomp.errors import AgentError, unknown
from autocomp.problem.problem import CompressionProblem

_FOREVER = 10**9


class ReinforcementAgent(ABC):
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

    Attributes:
        trail: folder in which the search leaves its networks and looks at its policy, or None.
        tensorboard: folder for the algorithm's own TensorBoard records, or None.
    """

    def __init__(
        self, env: str = "layerwise", reward: str | Reward = "merit", warm_up: float = 0.2,
        policy: str = "",
    ) -> None:  # fmt: skip
        if env not in ENVS:
            raise AgentError(unknown("environment", env, ENVS))
        if not 0 <= warm_up < 1:
            raise AgentError(f"`0 <= warm_up < 1` must hold, but got {warm_up=}.")
        self.env = env
        self.reward = find_reward(reward)
        self.warm_up = warm_up
        self.policy = str(policy and policy_file(policy))  # a missing file is refused at once
        self.trail: Path | None = None
        self.tensorboard: Path | None = None

    @abstractmethod
    def check(self, menu: PlanMenu) -> None:
        """Raises AgentError if the algorithm cannot act in the space."""

    @abstractmethod
    def build(self, env: EpisodeLog, menu: PlanMenu, seed: int) -> BaseAlgorithm:
        """Returns the algorithm, ready to learn in `env`."""

    @abstractmethod
    def prepare(self, model: Any, env: EpisodeLog) -> None:
        """Teaches the algorithm the episodes of the warm-up."""

    def refresh(self, model: Any, env: EpisodeLog) -> None:  # noqa: B027
        """Called before each rollout; does nothing unless the algorithm wants it."""

    def search(
        self,
        problem: CompressionProblem,
        space: SearchSpace,
        *,
        n_evaluations: int,
        seed: int,
        on_outcome: OnOutcome | None = None,
        starts: Sequence[Plan] = (),
    ) -> SearchResult:
        """Searches; see `Agent.search`."""
        menu = make_menu(problem, space)
        self.check(menu)
        evaluator = Evaluator(problem, n_evaluations, on_outcome)
        given = given_plans(menu, starts)
        env = EpisodeLog(
            gymnasium.make(
                ENVS[self.env], problem=menu, reward=self.reward, evaluate=evaluator.evaluate,
                disable_env_checker=True,
            )
        )  # fmt: skip
        trail = None
        if self.trail is not None:
            trail = PolicyCheckpoints(self.trail, menu, self.env, n_evaluations)
        with private_random_state():
            learned = []
            if self.policy:
                proposal = propose(self.learned(env.env, menu, seed), menu, self.env)
                learned = [menu.settle(proposal.indices)]
            self._warm_up(env, menu, evaluator, given, learned, seed)
            if len(env.episodes) > 1:
                env.set([returns(episode) for episode in env.episodes])
            model = self.build(env, menu, seed)
            model.set_logger(self._logger())
            if self.policy:
                load_policy(model, self.policy)
            self.prepare(model, env)
            if not evaluator.spent:
                model.learn(
                    _FOREVER, callback=_Learning(self, env, evaluator, trail), log_interval=1,
                    reset_num_timesteps=True,
                )  # fmt: skip
            model.logger.close()
            if trail is not None:
                trail.look(model, len(evaluator.outcomes), last=True)
        return SearchResult(evaluator.outcomes, lambda folder: save(model, folder))

    def learned(self, env: gymnasium.Env[Any, Any], menu: PlanMenu, seed: int = 0) -> Any:
        """Returns the algorithm with the networks that `policy` names."""
        model: Any = self.build(EpisodeLog(env), menu, seed)
        load_policy(model, self.policy)
        return model

    def _logger(self) -> Logger:
        if self.tensorboard is None:
            return Logger(folder=None, output_formats=[])
        return configure(str(self.tensorboard), ["tensorboard"])

    def _warm_up(
        self, env: EpisodeLog, menu: PlanMenu, evaluator: Evaluator, given: list[list[int]],
        learned: list[list[int]], seed: int,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        # a search of very few evaluations still tries one plan before it learns
        wanted = max(1, round(self.warm_up * evaluator.n_evaluations))
        first = [*given, *learned]
        for plan in first or starting_plans(menu, max(1, min(4, wanted // 2))):
            if not evaluator.spent and not follow(env, menu, plan) and first:
                evaluator.evaluate(menu.plan(plan))  # no action makes it; nothing to replay
        for _ in range(10 * wanted):  # proposals may repeat in a small space
            if len(evaluator.outcomes) >= wanted or evaluator.spent:
                break
            best = max(evaluator.outcomes, key=lambda outcome: outcome.rank)
            plan = menu.vary(menu.indices(best.plan), rng, self.env == "layerwise")
            if not evaluator.seen(menu.plan(plan)):
                follow(env, menu, plan)


class _Learning(BaseCallback):
    """Refreshes the agent before each rollout; ends learning when the evaluations are used up."""

    def __init__(
        self,
        agent: ReinforcementAgent,
        env: EpisodeLog,
        evaluator: Evaluator,
        trail: PolicyCheckpoints | None,
    ) -> None:
        super().__init__()
        self._agent, self._env, self._ledger, self._trail = agent, env, evaluator, trail

    def _on_rollout_start(self) -> None:
        if self._trail is not None:
            self._trail.look(self.model, len(self._ledger.outcomes))
        self._agent.refresh(self.model, self._env)

    def _on_step(self) -> bool:
        return not self._ledger.spent


@contextmanager
def private_random_state() -> Iterator[None]:
    """Keeps Stable-Baselines3's seeding of the global generators inside the search."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    python_state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
