"""What training asks of an agent that learns."""

from __future__ import annotations

from typing import Any, Protocol

from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.search_spaces import FeasibleSpace
from stable_baselines3.common.base_class import BaseAlgorithm


class Learner(Protocol):
    """An algorithm of Stable-Baselines3, and how plans that are known teach it.

    Attributes:
        env: "layerwise" or "whole-plan".
        policy: file of a policy to begin with; "" for none.
    """

    env: str
    policy: str

    def check(self, feasible: FeasibleSpace) -> None:
        """Raises AgentError if the algorithm cannot act in the space."""
        ...

    def build(self, env: EpisodeLog, feasible: FeasibleSpace, seed: int) -> BaseAlgorithm:
        """Returns the algorithm, ready to learn in `env`."""
        ...

    def prepare(self, model: Any, env: EpisodeLog) -> None:
        """Teaches the algorithm the episodes that were shown."""
        ...

    def refresh(self, model: Any, env: EpisodeLog) -> None:
        """Called before each rollout."""
        ...
