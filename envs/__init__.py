"""Gymnasium environments: `autocomp/Layerwise-v0` and `autocomp/WholePlan-v0`.

Importing this package registers them: `gymnasium.make(ID, problem=..., space="joint")`. Without an
import of its own: `gymnasium.make("autocomp.envs:autocomp/Layerwise-v0", problem=...)`.
"""

from __future__ import annotations

import gymnasium
from autocomp.envs.layerwise import LayerwiseEnv
from autocomp.envs.multi_task import MultiTaskEnv
from autocomp.envs.observations import Observer, feature_names
from autocomp.envs.rewards import GROUP, REWARDS, Result, Reward, Step, find_reward
from autocomp.envs.whole_plan import WholePlanEnv

ENVS = {"layerwise": "autocomp/Layerwise-v0", "whole-plan": "autocomp/WholePlan-v0"}

__all__ = [
    "ENVS",
    "GROUP",
    "REWARDS",
    "LayerwiseEnv",
    "MultiTaskEnv",
    "Observer",
    "Result",
    "Reward",
    "Step",
    "WholePlanEnv",
    "feature_names",
    "find_reward",
]

gymnasium.register(ENVS["layerwise"], entry_point="autocomp.envs.layerwise:LayerwiseEnv")
gymnasium.register("autocomp/MultiTask-v0", entry_point="autocomp.envs.multi_task:MultiTaskEnv")
gymnasium.register(ENVS["whole-plan"], entry_point="autocomp.envs.whole_plan:WholePlanEnv")
