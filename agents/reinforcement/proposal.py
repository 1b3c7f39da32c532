"""What a policy would do, step by step, with nothing evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from autocomp.envs import LayerwiseEnv, PlanMenu, WholePlanEnv
from autocomp.search_spaces.feasible_space import Floats
from numpy.typing import NDArray


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


def propose(model: Any, menu: PlanMenu, env: str = "layerwise") -> Proposal:
    """Returns the plan that an algorithm of Stable-Baselines3 makes without exploring.

    Args:
        model: the algorithm; only its `predict` is used.
        menu: the problem's menu.
        env: the environment that it acts in, "layerwise" or "whole-plan".
    """
    if env == "whole-plan":
        observation, _ = WholePlanEnv(menu).reset()
        indices, executed = menu.execute_whole(model.predict(observation, deterministic=True)[0])
        rows = [menu.normalise(row) for row in menu.vector.split(executed)]
        return Proposal(indices, np.array(rows), observation[None])
    layers = LayerwiseEnv(menu)
    observation, _ = layers.reset()
    indices, rows, seen = [], [], []
    for step in range(len(menu)):
        seen.append(observation)
        action = model.predict(observation, deterministic=True)[0]
        index, executed = menu.execute(indices, action)
        rows.append(menu.normalise(executed))
        if step + 1 < len(menu):  # the last step would evaluate the plan
            observation = layers.step(action)[0]
        indices.append(index)
    return Proposal(indices, np.array(rows), np.stack(seen))
