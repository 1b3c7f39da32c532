"""Covariance matrix adaptation."""

from __future__ import annotations

from collections.abc import Sequence

from autocomp.agents.base import OnOutcome, SearchResult
from autocomp.agents.samplers.optuna_agent import Beginning, OptunaAgent
from autocomp.search_spaces import SearchSpace
from gymnasium import spaces
from optuna.samplers import BaseSampler, CmaEsSampler

from autocomp.core.plan import Plan
from autocomp.errors import AgentError
from autocomp.problem.problem import CompressionProblem


class CMAESAgent(OptunaAgent):
    """Separable CMA-ES of Optuna (Ros and Hansen 2008), from the first plan outwards.

    Args:
        starts: how many plans are tried first, where none is given; the first is the initial mean.
        sigma: initial step size; the action interval is 2 wide. Of log-multipliers in the
            `coefficients` space.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, sigma: float = 0.3, storage: str = "") -> None:
        def make(begin: Beginning) -> BaseSampler:
            return CmaEsSampler(
                x0=begin.point, sigma0=sigma * begin.spread, seed=begin.seed, n_startup_trials=1,
                use_separable_cma=True, warn_independent_sampling=False,
            )  # fmt: skip

        super().__init__(make, starts, 0, storage)

    def search(
        self,
        problem: CompressionProblem,
        space: SearchSpace,
        *,
        n_evaluations: int,
        seed: int,
        on_outcome: OnOutcome | None = None,
        starts: Sequence[Plan] = (),
    ) -> SearchResult:
        """Searches; see `Agent.search`. AgentError for a discrete space."""
        if not isinstance(space.action_space, spaces.Box):
            raise AgentError(
                f"`cmaes` needs a continuous space, but got {space.action_space}; leave out "
                "discrete=true or use tpe."
            )
        return super().search(
            problem, space, n_evaluations=n_evaluations, seed=seed, on_outcome=on_outcome,
            starts=starts,
        )  # fmt: skip
