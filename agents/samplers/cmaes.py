"""Covariance matrix adaptation."""

from __future__ import annotations

from autocomp.agents.samplers.optuna_agent import Beginning, OptunaAgent
from autocomp.agents.task import SearchResult, SearchTask
from gymnasium import spaces
from optuna.samplers import BaseSampler, CmaEsSampler

from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_real


class CMAESAgent(OptunaAgent):
    """Separable CMA-ES of Optuna (Ros and Hansen 2008), from the first plan outwards.

    Args:
        starts: how many plans are tried first, where none is given; the first is the initial mean.
        sigma: initial step size; the action interval is 2 wide. Of log-multipliers in the
            `coefficients` space.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, sigma: float = 0.3, storage: str = "") -> None:
        check_real(AgentError, sigma=(sigma, 1e-6, 100))

        def make(begin: Beginning) -> BaseSampler:
            return CmaEsSampler(
                x0=begin.point, sigma0=sigma * begin.spread, seed=begin.seed, n_startup_trials=1,
                use_separable_cma=True, warn_independent_sampling=False,
            )  # fmt: skip

        super().__init__(make, starts, 0, storage)

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`. AgentError for a discrete space."""
        if not isinstance(task.space.action_space, spaces.Box):
            raise AgentError(
                f"`cmaes` needs a continuous space, but got {task.space.action_space}; leave out "
                "discrete=true or use tpe."
            )
        return super().search(task)
