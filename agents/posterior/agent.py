"""Thompson sampling: draw what the layers' losses may be, solve exactly, evaluate, learn."""

from __future__ import annotations

import copy

import numpy as np
from autocomp.agents.base import Agent
from autocomp.agents.evaluator import Evaluator
from autocomp.agents.learned_multipliers import Coefficients, LearnedMultipliers
from autocomp.agents.posterior.loss_model import LossModel
from autocomp.agents.starts import given_plans
from autocomp.agents.task import SearchResult, SearchTask
from autocomp.envs.observations import Observer
from autocomp.search_spaces import FeasibleSpace

from autocomp.allocation.pareto import Floats
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import AgentError
from autocomp.plugins.bounds import check_real, check_whole

_WIDER, _WIDEST = 1.3, 20.0
"""Draws that make a known plan are spread wider by this, up to that."""
_PATIENCE = 40
"""So many draws in a row that make no new plan, and the search ends."""


class PosteriorAgent(Agent):
    """Learns by how much each layer's estimated losses are wrong, and lets the solver decide.

    The measured gap of a plan from the dense network is taken as a sum over layers of estimated
    losses times coefficients (`LossModel`). The start is evaluated first. Then coefficients are
    drawn from their posterior, the solver finds the plan that is best by them, and its outcome is
    learned (Thompson 1933; Russo et al. 2018, arXiv:1707.02038); every so often the posterior mean
    takes the place of a draw. Works in every space, whatever its actions are, because it acts on
    losses. The last plan that was best by a posterior mean is among the finalists.

    Args:
        spread: prior standard deviation of a layer's multiplier, whose mean is 1.
        curvature: prior standard deviation of what bends its losses.
        every: each so many evaluations the posterior mean is tried.
        policy: run folder, or its `agent.posterior.json`, of multipliers to begin with.
    """

    def __init__(
        self, spread: float = 0.5, curvature: float = 0.25, every: int = 4, policy: str = ""
    ) -> None:
        check_real(AgentError, spread=(spread, 0.001, 10), curvature=(curvature, 0.001, 10))
        check_whole(AgentError, every=(every, 1, 1000))
        self.spread, self.curvature, self.every = spread, curvature, every
        self.learned = LearnedMultipliers.read(policy) if policy else None

    def with_policy(self, policy: str) -> PosteriorAgent:
        """See `Agent.with_policy`; AgentError if there is no such file."""
        own = copy.copy(self)
        own.learned = LearnedMultipliers.read(policy)
        return own

    def search(self, task: SearchTask) -> SearchResult:
        """Searches; see `Agent.search`."""
        feasible, evaluator = task.feasible, Evaluator(task)
        start = feasible.allocation.plan
        for indices in dict.fromkeys(map(tuple, [*given_plans(task), start])):
            if not evaluator.spent:
                evaluator.evaluate(feasible.plan(indices))
        model = self._model(feasible, start)
        believed: Plan | None = None
        if self.learned is not None:
            believed = self._try(feasible, evaluator, model.losses(model.mean))[0]
        believed = self._sample(feasible, evaluator, model, task.seed) or believed
        found = LearnedMultipliers(
            tuple(layer.name for layer in feasible.layers), model.mean, model.deviation,
            _at(feasible, start), _features(feasible), len(evaluator.outcomes),
        )  # fmt: skip
        return SearchResult(evaluator.outcomes, found.write, tuple(filter(None, [believed])))

    def _model(self, feasible: FeasibleSpace, start: list[int]) -> LossModel:
        prior: Coefficients | None = None
        if self.learned is not None:
            names = tuple(layer.name for layer in feasible.layers)
            prior = self.learned.for_layers(names, _at(feasible, start), _features(feasible))
        return LossModel(feasible.losses, start, self.spread, self.curvature, prior)

    def _sample(
        self, feasible: FeasibleSpace, evaluator: Evaluator, model: LossModel, seed: int
    ) -> Plan | None:
        """Evaluates until nothing is left; returns the last posterior mean's plan."""
        rng = np.random.default_rng(seed)
        start, believed = feasible.allocation.plan, None
        width, known = 1.0, 0
        _learn(feasible, model, evaluator.outcomes, start)
        while not evaluator.spent and known < _PATIENCE:
            due = evaluator.left == 1 or len(evaluator.outcomes) % self.every == 0
            if known == 0 and due:
                believed, new = self._try(feasible, evaluator, model.losses(model.mean))
                if new:
                    _learn(feasible, model, evaluator.outcomes, start)
                    continue
            if self._try(feasible, evaluator, model.losses(model.draw(rng, width)))[1]:
                _learn(feasible, model, evaluator.outcomes, start)
                width, known = 1.0, 0
            else:
                width, known = min(width * _WIDER, _WIDEST), known + 1
        return believed

    def _try(
        self, feasible: FeasibleSpace, evaluator: Evaluator, losses: list[Floats]
    ) -> tuple[Plan | None, bool]:
        """Evaluates the plan that is best by some losses; returns it, and whether it was new."""
        plan = feasible.plan(feasible.allocation.solved(losses))
        if evaluator.seen(plan):
            return plan, False
        if evaluator.spent:
            return None, False
        evaluator.evaluate(plan)
        return plan, True


def _learn(
    feasible: FeasibleSpace, model: LossModel, outcomes: tuple[Outcome, ...], start: list[int]
) -> None:
    """Fits the model to every outcome, the start's first."""
    own = feasible.plan(start)
    ordered = sorted(outcomes, key=lambda outcome: outcome.plan != own)
    model.fit([feasible.indices(o.plan) for o in ordered], [-o.merit for o in ordered])


def _at(feasible: FeasibleSpace, indices: list[int]) -> Floats:
    return np.array([x[i] for x, i in zip(feasible.losses, indices, strict=True)])


def _features(feasible: FeasibleSpace) -> Floats:
    return Observer(feasible).layers
