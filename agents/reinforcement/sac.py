"""Soft actor-critic."""

from __future__ import annotations

from typing import Any

from autocomp.agents.reinforcement.off_policy import OffPolicyAgent, SlowActor
from stable_baselines3 import SAC


class _SlowSAC(SlowActor, SAC):
    pass


class SACAgent(OffPolicyAgent):
    """SAC of Stable-Baselines3 (Haarnoja et al. 2018, arXiv:1801.01290); see `OffPolicyAgent`.

    Its entropy bonus is small and fixed: exploration comes from the decaying noise, as for the
    others, and a bonus that is tuned to a target would drown differences of hundredths.
    """

    algorithm = _SlowSAC
    extra: dict[str, Any] = {"ent_coef": 0.005}  # noqa: RUF012
