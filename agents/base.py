"""The contract of an agent."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autocomp.agents.policy import LearnedPolicy
from autocomp.agents.task import PolicyTask, SearchResult, SearchTask, TrainedAgent
from autocomp.search_spaces import FeasibleSpace

from autocomp.errors import AgentError
from autocomp.plugins.contracts import check_contract


@runtime_checkable
class Agent(Protocol):
    """Something that searches.

    Inherit from this class and implement `search`; the rest has its default, which is that of an
    agent that learns no policy and keeps no study. `autocomp.testing.AgentContract` holds the
    contract: the same seed gives the same outcomes; never more than `n_evaluations` distinct plans;
    every one feasible; the toy problem's optimum is reached; the starts are evaluated first, in
    their order; a clear AgentError for a space that it cannot use.
    """

    @abstractmethod
    def search(self, task: SearchTask) -> SearchResult:
        """Searches plans of the task's space for its problem.

        Raises:
            AgentError: if the agent cannot use the space, or a start does not lie in it or does not
                meet the budgets.
        """
        ...

    def with_policy(self, policy: str) -> Agent:
        """Returns this agent, beginning with what a run has learned: its folder, or its file.

        Raises:
            AgentError: if it learns no policy.
        """
        raise AgentError(
            f"`policy` needs an agent that learns (ddpg, td3, sac, ppo, posterior), but got "
            f"{type(self).__name__}; choose another agent, or leave out policy."
        )

    def train_policy(self, task: PolicyTask) -> TrainedAgent:
        """Trains one policy over several problems and budgets.

        Raises:
            AgentError: if it learns no policy, or cannot act in the space.
        """
        raise AgentError(
            "A policy is trained with a learning agent (ddpg, td3, sac, ppo), but got "
            f"{type(self).__name__}; choose another agent."
        )

    def learned_policy(self, folder: Path, feasible: FeasibleSpace) -> LearnedPolicy | None:
        """Returns the policy that a search has left in its folder; None if there is none."""
        return None

    def study(self, folder: Path) -> tuple[Path, str] | None:
        """Returns the Optuna journal that a search has left, and its sampler; None without one."""
        return None


def check_agent(agent: Any) -> Agent:
    """Returns the agent, if it is one.

    Raises:
        AgentError: for a class, an object without the contract's methods, or an agent that was
            written for the many-argument `search` of autocomp 0.4 and before.
    """
    search = getattr(agent, "search", None)
    if isinstance(agent, type):
        check_contract("agent", agent, Agent, AgentError)
    if not callable(search):
        raise AgentError(
            f"An agent must have search(task), but got {agent!r:.60}; inherit from "
            "autocomp.agents.Agent."
        )
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(search).parameters.values())
    needed = [
        p for p in parameters if p.default is p.empty and p.kind in (*positional, p.KEYWORD_ONLY)
    ]
    if len(needed) != 1 or needed[0].kind not in positional:
        raise AgentError(
            "An agent's search takes one argument, search(self, task: SearchTask) -> SearchResult, "
            f"but {type(agent).__name__} has search{inspect.signature(search)}; take problem, "
            "space, n_evaluations, seed, starts and on_outcome from the task."
        )
    check_contract("agent", agent, Agent, AgentError)
    found: Agent = agent
    return found
