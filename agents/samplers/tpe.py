"""Tree-structured Parzen estimator."""

from __future__ import annotations

from autocomp.agents.samplers.optuna_agent import Beginning, OptunaAgent
from optuna.samplers import BaseSampler, TPESampler


class TPEAgent(OptunaAgent):
    """TPE of Optuna (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127), multivariate.

    Args:
        starts: how many plans are tried first, where none is given.
        startup: vectors after them, before the estimator takes over.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, startup: int = 10, storage: str = "") -> None:
        def make(begin: Beginning) -> BaseSampler:
            return TPESampler(n_startup_trials=begin.trials, seed=begin.seed, multivariate=True)

        super().__init__(make, starts, startup, storage)
