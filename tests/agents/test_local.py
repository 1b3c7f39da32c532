"""Local search: fewer and fewer multipliers, then single choices, and nothing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from autocomp.agents import Evaluator, make_agent
from autocomp.agents.local import _neighbours, _redrawn
from autocomp.agents.task import SearchTask
from autocomp.search_spaces import CoefficientSpace, feasible_space, make_space

SPACE = "bits:weight_bits=2/3/4/6/8"


def test_some_multipliers_are_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    actions = np.zeros((20, 1))
    drawn = _redrawn(actions, 3, 5.0, rng)
    assert (drawn != 0).sum() == 3
    assert np.abs(drawn).max() <= 1
    assert not actions.any()


def test_neighbours_are_feasible_and_ordered(toy: Any) -> None:
    feasible = feasible_space(toy, CoefficientSpace(make_space(SPACE)))
    start = feasible.allocation.plan
    found = list(_neighbours(feasible, start))
    losses = [feasible.allocation.loss(indices) for indices in found]
    assert losses == sorted(losses)
    assert len({tuple(i) for i in found}) == len(found) > 10
    for indices in found:
        assert feasible.allocation.meets(indices)
        assert 1 <= sum(a != b for a, b in zip(indices, start, strict=True)) <= 2


def test_single_choices_find_what_multipliers_do_not(make_toy: Any) -> None:
    toy = make_toy("size=12%")
    space = make_space(SPACE)
    agent = make_agent("local", sigma=1e-9)  # multipliers change nothing
    found = agent.search(SearchTask.of(toy, space, 60, 0))
    assert len(found.outcomes) > 5
    assert found.best is not None
    assert found.best.accuracy > found.outcomes[0].accuracy


def test_it_ends_where_every_neighbour_is_known(make_toy: Any) -> None:
    toy = make_toy("size=30%")
    found = make_agent("local").search(
        SearchTask.of(toy, make_space("bits:weight_bits=4/8"), 500, 0)
    )
    assert len(found.outcomes) < 20
    assert len(toy.evaluated) < 40


def test_a_coefficients_space_is_taken_as_it_is(toy: Any) -> None:
    inner = make_space(SPACE)
    plain = make_agent("local").search(SearchTask.of(toy, inner, 10, 0))
    wrapped = make_agent("local").search(SearchTask.of(toy, CoefficientSpace(inner), 10, 0))
    assert [o.plan for o in plain.outcomes] == [o.plan for o in wrapped.outcomes]
    assert Evaluator(SearchTask.of(toy, inner, 1)).left == 1
