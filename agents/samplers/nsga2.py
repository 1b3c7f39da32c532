"""Genetic search."""

from __future__ import annotations

from autocomp.agents.samplers.optuna_agent import Beginning, OptunaAgent
from optuna.samplers import BaseSampler, NSGAIISampler

from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_whole


class NSGA2Agent(OptunaAgent):
    """NSGA-II of Optuna (Deb et al. 2002) on one objective, with its handling of constraints.

    Args:
        starts: how many plans are in the first generation, where none is given.
        population: size of a generation; few evaluations want small ones.
        storage: file of the study's journal.
    """

    def __init__(self, starts: int = 4, population: int = 12, storage: str = "") -> None:
        check_whole(AgentError, population=(population, 2, 10_000))

        def make(begin: Beginning) -> BaseSampler:
            return NSGAIISampler(population_size=population, seed=begin.seed)

        super().__init__(make, starts, population, storage)
