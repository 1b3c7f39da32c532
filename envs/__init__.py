"""Gymnasium environments: `autocomp/Layerwise-v0` and `autocomp/WholePlan-v0`.

Importing this package registers them: `gymnasium.make(ID, problem=..., space="joint")`.
"""

from __future__ import annotations

import gymnasium
from autocomp.envs.coefficient_menu import CoefficientMenu, make_menu
from autocomp.envs.coupled_menu import CoupledMenu
from autocomp.envs.curriculum import CurriculumEnv
from autocomp.envs.layerwise import LayerwiseEnv
from autocomp.envs.menu import PlanMenu
from autocomp.envs.rewards import REWARDS, Reward
from autocomp.envs.whole_plan import WholePlanEnv

ENVS = {"layerwise": "autocomp/Layerwise-v0", "whole-plan": "autocomp/WholePlan-v0"}

__all__ = [
    "ENVS",
    "REWARDS",
    "CoefficientMenu",
    "CoupledMenu",
    "CurriculumEnv",
    "LayerwiseEnv",
    "PlanMenu",
    "Reward",
    "WholePlanEnv",
    "make_menu",
]

gymnasium.register(ENVS["layerwise"], entry_point="autocomp.envs.layerwise:LayerwiseEnv")
gymnasium.register("autocomp/Curriculum-v0", entry_point="autocomp.envs.curriculum:CurriculumEnv")
gymnasium.register(ENVS["whole-plan"], entry_point="autocomp.envs.whole_plan:WholePlanEnv")
