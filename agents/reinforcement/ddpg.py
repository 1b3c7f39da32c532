"""Deep deterministic policy gradient."""

from __future__ import annotations

from autocomp.agents.reinforcement.off_policy import OffPolicyAgent, SlowActor
from stable_baselines3 import DDPG


class _SlowDDPG(SlowActor, DDPG):
    pass


class DDPGAgent(OffPolicyAgent):
    """DDPG of Stable-Baselines3 (Lillicrap et al. 2016, arXiv:1509.02971), AMC's and HAQ's choice.

    Unlike theirs, replay holds executed actions and whole-episode returns; see `OffPolicyAgent`.
    """

    algorithm = _SlowDDPG
