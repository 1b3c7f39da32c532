"""Agents: what searches plans, one a file.

To add one, implement `Agent` and register it in `AGENTS`, or under the entry-point group
`autocomp.agents` of another package.
"""

from __future__ import annotations

from typing import Any

from autocomp.agents.base import Agent, check_agent
from autocomp.agents.baselines.random_search import RandomAgent
from autocomp.agents.baselines.uniform import UniformAgent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.exact.dp import DPAgent
from autocomp.agents.exact.ilp import ILPAgent
from autocomp.agents.greedy import GreedyAgent
from autocomp.agents.local import LocalAgent
from autocomp.agents.policy import LearnedPolicy
from autocomp.agents.posterior.agent import PosteriorAgent
from autocomp.agents.reinforcement.ddpg import DDPGAgent
from autocomp.agents.reinforcement.ppo import PPOAgent
from autocomp.agents.reinforcement.sac import SACAgent
from autocomp.agents.reinforcement.td3 import TD3Agent
from autocomp.agents.samplers.cmaes import CMAESAgent
from autocomp.agents.samplers.nsga2 import NSGA2Agent
from autocomp.agents.samplers.tpe import TPEAgent
from autocomp.agents.starts import given_plans
from autocomp.agents.task import OnOutcome, PolicyTask, SearchResult, SearchTask, TrainedAgent

from autocomp.errors import AgentError
from autocomp.plugins.registry import Factory, find
from autocomp.plugins.spec import construct, parse_spec

AGENTS: dict[str, Factory] = {
    "ddpg": DDPGAgent,
    "td3": TD3Agent,
    "sac": SACAgent,
    "ppo": PPOAgent,
    "tpe": TPEAgent,
    "nsga2": NSGA2Agent,
    "cmaes": CMAESAgent,
    "dp": DPAgent,
    "ilp": ILPAgent,
    "posterior": PosteriorAgent,
    "local": LocalAgent,
    "greedy": GreedyAgent,
    "uniform": UniformAgent,
    "random": RandomAgent,
}
GROUP = "autocomp.agents"

__all__ = [
    "AGENTS",
    "GROUP",
    "Agent",
    "Evaluator",
    "LearnedPolicy",
    "OnOutcome",
    "PolicyTask",
    "SearchResult",
    "SearchTask",
    "TrainedAgent",
    "given_plans",
    "make_agent",
]


def make_agent(agent: str | Agent, **options: Any) -> Agent:
    """Returns the agent that a text as `ddpg` or `ppo:env=whole-plan` names, or the object.

    Raises:
        UnknownNameError: if no agent has that name.
        AgentError: if it does not take the options, or is no agent.
    """
    if not isinstance(agent, str):
        return check_agent(agent)
    name, given = parse_spec(agent)
    factory = find("agent", name, AGENTS, GROUP)
    return check_agent(construct("agent", name, factory, {**given, **options}, AgentError))
