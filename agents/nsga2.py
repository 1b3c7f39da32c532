"""Genetic search."""

from __future__ import annotations

from autocomp.agents.optuna_agent import OptunaAgent
from optuna.samplers import BaseSampler, NSGAIISampler


class NSGA2Agent(OptunaAgent):
    """NSGA-II of Optuna (Deb et al. 2002) on one objective, with its handling of constraints.

    Args:
        starts: how many uniform plans are in the first generation.
        population: size of a generation; few evaluations want small ones.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, population: int = 12, storage: str = "") -> None:
        def make(seed: int, start: dict[str, float], n_evaluations: int) -> BaseSampler:
            return NSGAIISampler(population_size=max(4, population), seed=seed)

        super().__init__(make, starts, storage)
