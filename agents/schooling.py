"""Training one policy on several problems and budgets, so that it can begin on another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autocomp.agents.episodes import EpisodeLog, returns
from autocomp.agents.reinforcement import ReinforcementAgent, private_random_state
from autocomp.envs import CurriculumEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from autocomp.errors import AgentError

OnEpisode = Callable[[int, int, float], None]
"""Called with the number of the episode, its lesson and its return."""
_FOREVER = 10**9
_AROUND = 2
"""Plans around the solver's that are shown, too, in each lesson."""


def school(
    agent: ReinforcementAgent,
    env: CurriculumEnv,
    *,
    n_episodes: int,
    seed: int,
    on_episode: OnEpisode | None = None,
) -> Any:
    """Trains a policy and returns the algorithm of Stable-Baselines3.

    First it is shown the exact solver's plan of every lesson, which it clones, and some plans
    around it; then it acts and learns. With every episode it is pulled towards the best plan that
    each lesson has seen, as in a search.

    Args:
        agent: how to learn; layer by layer.
        env: the lessons.
        n_episodes: episodes in all, those that are shown included.
        seed: makes the training repeatable.
        on_episode: called after each episode.

    Raises:
        AgentError: if the agent acts on whole plans, whose length depends on the network, cannot
            act in the space, or has fewer episodes than there are lessons.
    """
    if agent.env != "layerwise":
        raise AgentError(
            f"A policy that travels acts layer by layer, but got env={agent.env}; leave it out."
        )
    if n_episodes < len(env.lessons):
        raise AgentError(
            f"Training needs an episode for each of the {len(env.lessons)} lessons, but got "
            f"{n_episodes}; raise episodes, or give fewer budgets."
        )
    agent.check(env.longest)
    log = EpisodeLog(env)
    told = 0

    def tell() -> None:
        nonlocal told
        while told < len(log.episodes):
            if on_episode is not None:
                on_episode(told, log.lessons[told], returns(log.episodes[told]))
            told += 1

    with private_random_state():
        _demonstrate(log, env, n_episodes, np.random.default_rng(seed))
        tell()
        if len(log.episodes) > 1:
            log.set([returns(episode) for episode in log.episodes])
        env.reset(seed=seed)
        model: Any = agent.build(log, env.longest, seed)
        model.set_logger(Logger(folder=None, output_formats=[]))
        agent.prepare(model, log)
        if len(log.episodes) < n_episodes:
            model.learn(_FOREVER, callback=_Lessons(agent, log, n_episodes, tell))
    return model


def _demonstrate(
    log: EpisodeLog, env: CurriculumEnv, n_episodes: int, rng: np.random.Generator
) -> None:
    for number, lesson in enumerate(env.lessons):
        menu = lesson.menu
        plans = [menu.solver.plan]
        plans += [menu.vary(menu.solver.plan, rng, layerwise=True) for _ in range(_AROUND)]
        for plan in plans:
            actions = menu.step_actions(plan)
            later = len(env.lessons) - number - 1
            if actions is None or len(log.episodes) + later >= n_episodes:
                continue  # each lesson's own plan is shown in any case
            log.reset(options={"lesson": number, "lower_wall": False})
            for action in actions:
                log.step(action)


class _Lessons(BaseCallback):
    """Refreshes the agent before each rollout; ends the training after the last episode."""

    def __init__(
        self, agent: ReinforcementAgent, log: EpisodeLog, n_episodes: int, tell: Callable[[], None]
    ) -> None:
        super().__init__()
        self._agent, self._log, self._n_episodes, self._tell = agent, log, n_episodes, tell

    def _on_rollout_start(self) -> None:
        self._agent.refresh(self.model, self._log)

    def _on_step(self) -> bool:
        self._tell()
        return len(self._log.episodes) < self._n_episodes
