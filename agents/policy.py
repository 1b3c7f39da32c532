"""A learned policy, and what it would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import FeasibleSpace
from numpy.typing import NDArray

from autocomp.allocation.pareto import Floats


class Acting(Protocol):
    """Whatever acts: an algorithm of Stable-Baselines3, for instance."""

    def predict(self, observation: Any, *, deterministic: bool = ...) -> tuple[Any, Any]:
        """Returns an action for an observation, and a state that is not used."""
        ...


class Critic(Protocol):
    """What a policy expects of an action."""

    unit: str
    """What the values are, in words."""
    grid: int
    """Values an axis at which it is quick to ask."""

    def values(
        self, observations: NDArray[np.float32], actions: Floats
    ) -> NDArray[np.float64] | None:
        """Returns the value of each action `(n, width)` in its state; None if it judges states."""
        ...

    def state_value(self, observation: NDArray[np.float32]) -> float:
        """Returns the value of a state."""
        ...


@dataclass(frozen=True)
class LearnedPolicy:
    """A policy that a search has learned.

    Attributes:
        algorithm: the class that learned it ("DDPG").
        env: the environment that it acts in, "layerwise" or "whole-plan".
        model: acts.
        critic: judges.
    """

    algorithm: str
    env: str
    model: Acting = field(repr=False)
    critic: Critic = field(repr=False)


@dataclass(frozen=True)
class Proposal:
    """A policy's deterministic plan.

    Attributes:
        indices: a choice index per layer; in structural spaces before it is settled.
        actions: `(n_layers, width)`: what was executed, in [-1, 1].
        observations: `(n_steps, n_features)`: what the policy saw.
    """

    indices: list[int]
    actions: Floats
    observations: NDArray[np.float32]


def propose(model: Acting, feasible: FeasibleSpace, env: str = "layerwise") -> Proposal:
    """Returns the plan that a policy makes without exploring; nothing is evaluated.

    Args:
        model: acts.
        feasible: the problem's feasible space.
        env: the environment that it acts in, "layerwise" or "whole-plan".
    """
    if env == "whole-plan":
        observation, _ = WholePlanEnv(feasible).reset()
        action = model.predict(observation, deterministic=True)[0]
        indices, executed = feasible.actions.execute_whole(action)
        return Proposal(indices, feasible.vector.normalised(executed), observation[None])
    layers = LayerwiseEnv(feasible)
    observation, _ = layers.reset()
    indices, rows, seen = [], [], []
    for step in range(len(feasible)):
        seen.append(observation)
        action = model.predict(observation, deterministic=True)[0]
        index, executed = feasible.actions.execute(indices, action)
        rows.append(feasible.normalise(executed))
        if step + 1 < len(feasible):  # the last step would evaluate the plan
            observation = layers.step(action)[0]
        indices.append(index)
    return Proposal(indices, np.array(rows), np.stack(seen))
