"""The contract of an agent."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from autocomp.agents import Agent, SearchResult, make_agent
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import AgentError, AutocompError, BudgetError
from autocomp.search_spaces import SearchSpace, make_space
from autocomp.testing.toy_problem import ToyProblem

SPACE = "bits:weight_bits=2/3/4/6/8"


class AgentContract:
    """What every agent promises; subclass it and define `make`.

    An agent is made once and may search several times; a search begins from nothing. It is given a
    `SearchTask` and returns a `SearchResult`. The starts are evaluated first, in their order, then
    the agent's own plans, through an `Evaluator` or `problem.evaluate`; `on_outcome` is called
    after each plan that is new. The search ends when `n_evaluations` distinct plans are evaluated,
    or earlier.

    Every plan lies in the space and meets the budgets, and none is counted twice; the outcomes are
    returned in their order. The same seed gives the same outcomes, whatever else the process has
    drawn, and the process's own random state stays as it was. The optimum of a toy problem, whose
    layers differ in sensitivity by 40 times, is found. What the agent cannot use is refused with an
    `AgentError` of one line, before anything is evaluated: a start that does not fit, or a kind of
    space. Errors of the problem pass through.

    Attributes:
        space: what is searched, `bits:weight_bits=2/3/4/6/8` by default.
        budget: of the toy problem, `size=12%` by default.
        n_evaluations: within which the toy problem's optimum is found; 150 by default.
        reaches_optimum: whether it is found at all. True by default.
        informed: whether the toy problem's estimated losses are the true ones, which is what a
            solver needs; else they hold all layers to be as sensitive. False by default.
        draws: whether another seed gives another search. True by default.
        continuous: whether it searches spaces of numbers; else it refuses them. True by default.
        discrete: whether it searches spaces of indices; else it refuses them. True by default.
        multipliers: whether it searches a space whose actions name no choices, `coefficients`; else
            that is not tried. True by default.
    """

    space = SPACE
    budget = "size=12%"
    n_evaluations = 150
    reaches_optimum = True
    informed = False
    draws = True
    continuous = True
    discrete = True
    multipliers = True

    def make(self) -> Agent:
        """Returns the agent."""
        raise NotImplementedError

    def test_it_is_an_agent(self) -> None:
        """An object with every method."""
        agent = self.make()
        assert make_agent(agent) is agent

    @pytest.mark.parametrize("kind", ["choices", "multipliers"])
    def test_a_search_keeps_its_promises(self, kind: str) -> None:
        """New plans within the budget, told as they come, never more than asked for."""
        seen: list[Outcome] = []
        toy, space = self._toy(), self._space(kind)
        result = self.make().search(toy.task(space, 12, 1, on_outcome=seen.append))
        assert isinstance(result, SearchResult)
        assert tuple(seen) == tuple(result.outcomes)
        assert 1 <= len(result.outcomes) <= 12
        assert len({o.plan for o in result.outcomes}) == len(result.outcomes)
        assert {o.plan for o in result.outcomes} == set(toy.evaluated)
        assert all(o.within_budget for o in result.outcomes)
        menus = [set(space.choices(layer)) for layer in toy.network.layers]
        for outcome in result.outcomes:
            assert all(c in m for c, m in zip(outcome.plan.values(), menus, strict=True))
        assert result.best is not None
        assert result.best.quality == max(o.quality for o in result.outcomes)

    def test_the_same_seed_gives_the_same_outcomes(self) -> None:
        """Whatever the agent searched before, and whatever else ran in the process."""
        agent = self.make()
        other, second, first = (
            self._plans(agent, 4), self._plans(agent, 3), self._plans(self.make(), 3),
        )  # fmt: skip
        assert first == second
        if self.draws:
            assert first != other, "draws is True, but another seed changes nothing"

    def test_the_random_state_of_the_program_is_its_own(self) -> None:
        """Of torch, NumPy and Python."""
        _seed_all()
        expected = _draw_all()
        _seed_all()
        self._search(self._toy(), 6)
        assert _draw_all() == expected

    def test_it_reaches_the_optimum_of_the_toy_problem(self) -> None:
        """Within 0.001 of accuracy."""
        if not self.reaches_optimum:
            pytest.skip("reaches_optimum is False")
        toy = self._toy(self.informed)
        best = toy.optimum(self._space())
        found = self._search(toy, self.n_evaluations, 0).best
        assert found is not None
        assert found.quality == pytest.approx(best, abs=1e-3)

    def test_one_evaluation_is_enough(self) -> None:
        """A plan, and no second."""
        toy = self._toy()
        result = self._search(toy, 1)
        assert len(result.outcomes) == len(toy.evaluated) == 1

    def test_a_search_of_everything_ends(self) -> None:
        """Three plans fit the budget, and six are asked for."""
        toy = ToyProblem("size=416B")
        space = make_space("bits:weight_bits=4/8", discrete=not self.continuous)
        result = self.make().search(toy.task(space, 6, 0))
        assert 1 <= len(result.outcomes) <= 3

    @pytest.mark.parametrize("kind", ["choices", "multipliers"])
    def test_the_other_kind_of_space_is_searched_or_refused(self, kind: str) -> None:
        """One of indices after one of numbers; in one line, and before anything is evaluated."""
        discrete = self.continuous
        toy, space = self._toy(), self._space(kind, discrete)
        task = toy.task(space, 20, 0)
        if self.discrete if discrete else self.continuous:
            result = self.make().search(task)
            assert result.best is not None
            assert result.best.within_budget
            return
        with pytest.raises(AgentError) as caught:
            self.make().search(task)
        assert "\n" not in str(caught.value)
        assert not toy.evaluated

    def test_the_starts_come_first(self) -> None:
        """In their order, and counted."""
        starts = self._starts()
        result = self._search(self._toy(), 8, starts=starts)
        assert [o.plan for o in result.outcomes[: len(starts)]] == starts
        assert len(result.outcomes) <= 8
        result = self._search(self._toy(), 1, starts=starts)
        assert [o.plan for o in result.outcomes] == starts[:1]

    @pytest.mark.parametrize("which", ["another choice", "beyond the budget", "a layer missing"])
    def test_starts_that_do_not_fit_are_refused(self, which: str) -> None:
        """In one line, and before anything is evaluated."""
        toy = self._toy()
        start = self._starts()[0]
        first = next(iter(start))
        if which == "another choice":
            start = start.replace(first, start[first].replace(sparsity=0.1234))
        elif which == "beyond the budget":
            menus = [self._space().choices(layer) for layer in toy.network.layers]
            start = Plan({n: menu[-1] for n, menu in zip(start, menus, strict=True)})
        else:
            start = Plan({n: c for n, c in start.items() if n != first})
        with pytest.raises(AgentError) as caught:
            self._search(toy, 5, starts=[start])
        assert "\n" not in str(caught.value)
        assert not toy.evaluated

    def test_an_error_of_the_problem_passes_through(self) -> None:
        """It is not swallowed, and not another one."""

        class Failing(ToyProblem):
            def evaluate(self, plan: Plan, fidelity: Any = "F1") -> Outcome:
                raise BudgetError("the problem failed")

        with pytest.raises(BudgetError, match="the problem failed"):
            self._search(Failing(self.budget), 5)

    def test_what_it_does_not_have_it_says(self) -> None:
        """Beginning with a policy is done, or refused in one line."""
        try:
            self.make().with_policy("no-such-folder")
        except AutocompError as problem:
            assert "\n" not in str(problem)

    def _toy(self, informed: bool = False) -> ToyProblem:
        return ToyProblem(self.budget, informed)

    def _space(self, kind: str = "choices", discrete: bool | None = None) -> SearchSpace:
        if kind == "multipliers" and not self.multipliers:
            pytest.skip("multipliers is False")
        text = f"coefficients:menu={self.space.replace(':', ',')}"
        options = {"discrete": not self.continuous if discrete is None else discrete}
        return make_space(text if kind == "multipliers" else self.space, **options)

    def _search(
        self, toy: ToyProblem, n: int, seed: int = 0, starts: list[Plan] | None = None
    ) -> SearchResult:
        return self.make().search(toy.task(self._space(), n, seed, starts=starts or ()))

    def _starts(self) -> list[Plan]:
        """Returns a plan that spends the budget, and the least one."""
        feasible = self._toy(informed=True).feasible(self._space())
        return [feasible.plan(feasible.allocation.plan), feasible.plan([0] * len(feasible))]

    def _plans(self, agent: Agent, seed: int) -> list[Plan]:
        _draw_all()
        return [o.plan for o in agent.search(self._toy().task(self._space(), 14, seed)).outcomes]


def _seed_all() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)


def _draw_all() -> tuple[float, float, float]:
    return float(torch.rand(1)), np.random.rand(), random.random()  # noqa: NPY002
