"""Twin delayed DDPG."""

from __future__ import annotations

from autocomp.agents.off_policy import OffPolicyAgent
from stable_baselines3 import TD3


class TD3Agent(OffPolicyAgent):
    """TD3 of Stable-Baselines3 (Fujimoto et al. 2018, arXiv:1802.09477); see `OffPolicyAgent`."""

    algorithm = TD3
