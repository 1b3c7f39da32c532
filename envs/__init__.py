"""Gymnasium environments: `autocomp/Layerwise-v0` and `autocomp/WholePlan-v0`.

Importing this package registers them: `gymnasium.make(ID, problem=..., space="joint")`.
"""

from __future__ import annotations

import gymnasium
from autocomp.envs.layerwise import LayerwiseEnv
from autocomp.envs.multi_task import MultiTaskEnv
from autocomp.envs.rewards import REWARDS, Reward
from autocomp.envs.whole_plan import WholePlanEnv
from autocomp.search_spaces.coefficient_feasible import CoefficientMenu, make_menu
from autocomp.search_spaces.coupled_feasible import CoupledMenu
from autocomp.search_spaces.feasible_space import PlanMenu

ENVS = {"layerwise": "autocomp/Layerwise-v0", "whole-plan": "autocomp/WholePlan-v0"}

__all__ = [
    "ENVS",
    "REWARDS",
    "CoefficientMenu",
    "CoupledMenu",
    "MultiTaskEnv",
    "LayerwiseEnv",
    "PlanMenu",
    "Reward",
    "WholePlanEnv",
    "make_menu",
]

gymnasium.register(ENVS["layerwise"], entry_point="autocomp.envs.layerwise:LayerwiseEnv")
gymnasium.register("autocomp/Curriculum-v0", entry_point="autocomp.envs.multi_task:MultiTaskEnv")
gymnasium.register(ENVS["whole-plan"], entry_point="autocomp.envs.whole_plan:WholePlanEnv")
