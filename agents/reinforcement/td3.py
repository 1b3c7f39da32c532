"""Twin delayed DDPG."""

from __future__ import annotations

from autocomp.agents.reinforcement.off_policy import OffPolicyAgent, SlowActor
from stable_baselines3 import TD3


class _SlowTD3(SlowActor, TD3):
    pass


class TD3Agent(OffPolicyAgent):
    """TD3 of Stable-Baselines3 (Fujimoto et al. 2018, arXiv:1802.09477); see `OffPolicyAgent`."""

    algorithm = _SlowTD3
