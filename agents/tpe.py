"""Tree-structured Parzen estimator."""

from __future__ import annotations

from autocomp.agents.optuna_agent import OptunaAgent
from optuna.samplers import BaseSampler, TPESampler


class TPEAgent(OptunaAgent):
    """TPE of Optuna (Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127), multivariate.

    Args:
        starts: how many uniform plans are tried first.
        startup: random vectors after them, before the estimator takes over.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, startup: int = 10, storage: str = "") -> None:
        def make(seed: int, start: dict[str, float], n_evaluations: int) -> BaseSampler:
            begin = min(startup, n_evaluations // 4)
            return TPESampler(n_startup_trials=starts + begin, seed=seed, multivariate=True)

        super().__init__(make, starts, storage)
