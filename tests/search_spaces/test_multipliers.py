"""Multipliers become plans: neutral is the solver's plan, and every action is feasible."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import FeasibleSpace, feasible_space, make_space
from autocomp.search_spaces.multiplier_scale import MultiplierScale

from autocomp.errors import SpaceError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

MENU = "coefficients:menu=joint,levels=12"


@pytest.fixture(params=[False, True], ids=["continuous", "discrete"])
def space(request: pytest.FixtureRequest) -> Any:
    return make_space(MENU, discrete=request.param)


@pytest.fixture(scope="module", params=["size=8%", "size=8%,macs=30%"])
def problem(
    request: pytest.FixtureRequest, _trained_tiny: Any, tiny_data: Any, table_folder: Path
) -> CompressionProblem:
    settings = ProblemSettings(search_images=40, cache=table_folder / "autocomp")
    return CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, request.param, settings)


@pytest.fixture(scope="module")
def tight(tiny_problem: CompressionProblem) -> CompressionProblem:
    return tiny_problem.under("size=8%")


def neutral(space: Any) -> Any:
    return space.scale.action(np.zeros(1))


def test_neutral_actions_give_the_solvers_plan(problem: Any, space: Any) -> None:
    feasible = feasible_space(problem, space)
    best = feasible.allocation.plan
    assert (
        feasible.actions.fit(np.zeros((len(feasible), 1)))
        == best
        == feasible.actions.walk(np.zeros((len(feasible), 1)))
    )
    env = LayerwiseEnv(feasible)
    env.reset()
    for _ in range(len(feasible)):
        *_, info = env.step(neutral(space))
    assert info["outcome"].plan == feasible.plan(best)
    whole = WholePlanEnv(feasible)
    whole.reset()
    *_, info = whole.step(np.tile(neutral(space), len(feasible)))
    assert info["outcome"].plan == feasible.plan(best)


def test_the_plan_is_that_of_the_inner_menu(tight: Any, space: Any) -> None:
    inner = FeasibleSpace.build(tight, space.inner)
    assert feasible_space(tight, space).allocation.plan == inner.allocation.plan


@pytest.mark.parametrize("kind", [LayerwiseEnv, WholePlanEnv])
def test_every_action_is_executed_as_asked(problem: Any, space: Any, kind: Any) -> None:
    feasible = feasible_space(problem, space)
    env = kind(feasible, evaluate=lambda plan: outcome_of(problem, plan))
    env.action_space.seed(0)
    plans = set()
    for _ in range(12):
        obs, _ = env.reset()
        done = False
        while not done:
            action = env.action_space.sample()
            obs, _, done, _, info = env.step(action)
            assert (info["executed_action"] == action).all()
            assert info["executed_action"].dtype == env.action_space.dtype
            assert env.observation_space.contains(obs)
        assert problem.is_within(info["outcome"].plan)
        plans.add(info["outcome"].plan)
    assert len(plans) > 2


def outcome_of(problem: Any, plan: Any) -> Any:
    """An outcome without the network's forward passes."""
    from autocomp.core.outcome import Outcome

    return Outcome(plan, 0.5, 1.0, 10, problem.costs_of(plan), problem.is_within(plan), "F1", 0.0)


@pytest.mark.parametrize("layerwise", [True, False])
def test_plans_keep_their_actions(problem: Any, space: Any, layerwise: bool) -> None:
    feasible = feasible_space(problem, space)
    env: Any = LayerwiseEnv if layerwise else WholePlanEnv
    log = EpisodeLog(env(feasible, evaluate=lambda plan: outcome_of(problem, plan)))
    rng = np.random.default_rng(0)
    indices = feasible.allocation.plan
    decided = feasible.actions.walk if layerwise else feasible.actions.fit
    for number in range(20):
        assert follow(log, feasible, indices)
        assert log._plans[-1] == feasible.plan(indices)
        indices = feasible.actions.vary(indices, rng, layerwise)
        if number % 5 == 4:  # the best plan may be so by far: from elsewhere, too
            indices = decided(rng.uniform(-1, 1, (len(feasible), 1)))
    assert len(set(log._plans)) > 1


def test_inversion_needs_no_memory(tight: Any) -> None:
    feasible = feasible_space(tight, MENU)
    rng = np.random.default_rng(1)
    for _ in range(20):
        indices = feasible.actions.walk(rng.uniform(-1, 1, (len(feasible), 1)))
        again = feasible_space(tight, MENU)
        actions = again.actions.step_actions(indices)
        assert actions is not None
        assert again.actions.walk(np.array(actions, np.float64)) == indices


def test_plans_that_no_multipliers_make_are_skipped(tight: Any) -> None:
    feasible = feasible_space(tight, MENU)
    cheapest = [0] * len(feasible)
    assert feasible.actions.step_actions(cheapest) is None
    assert feasible.actions.whole_action(cheapest) is None
    log = EpisodeLog(LayerwiseEnv(feasible))
    assert not follow(log, feasible, cheapest)
    assert not log.episodes


def test_larger_multipliers_spend_more_on_a_layer(tight: Any) -> None:
    feasible = feasible_space(tight, MENU)
    for t in range(len(feasible)):
        rows = np.zeros((len(feasible), 1))
        losses = []
        for entry in (-1.0, 0.0, 1.0):
            rows[t] = entry
            losses.append(feasible.losses[t][feasible.actions.fit(rows)[t]])
        assert losses[0] >= losses[1] >= losses[2]


def test_spread_is_that_of_log_multipliers() -> None:
    space = MultiplierScale(span=2.0)
    assert space.multiplier(1.0) == pytest.approx(7.389056)
    assert space.entry(0.5, 2.0) == 0.0
    assert space.multiplier(space.entry(2.0, 4.5)) == pytest.approx(3.0)
    assert space.entry(0.0, 0.5) == pytest.approx((-2 + np.log(0.5)) / 4)
    assert space.snap(np.array([5.0, -0.3])).tolist() == [1.0, float(np.float32(-0.3))]
    nine = MultiplierScale(discrete=True)
    assert nine.whole_action(nine.snap(np.array([-1.0, 0.05, 0.3, 1.0]))).tolist() == [0, 4, 5, 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coefficients:span=0", "0 < span"),
        ("coefficients:menu=jont", "Did you mean 'joint'"),
        ("coefficients:menu=bits,level=3", "no option of search space 'bits'"),
        ("coefficients:span=x", "must be a number|float"),
    ],
)
def test_bad_options_say_what_is_wrong(text: str, words: str) -> None:
    from autocomp.errors import AutocompError

    with pytest.raises(AutocompError, match=words) as caught:
        make_space(text)
    assert "\n" not in str(caught.value)


def test_actions_that_are_no_numbers_are_refused(tight: Any) -> None:
    feasible = feasible_space(tight, MENU)
    with pytest.raises(SpaceError, match="finite"):
        feasible.actions.execute((), np.array([np.nan], np.float32))
    with pytest.raises(SpaceError, match="FeasibleSpace"):
        feasible.vector.encode(feasible.plan(feasible.allocation.plan))
    with pytest.raises(SpaceError, match="FeasibleSpace"):
        feasible.space.decode(feasible.layers[0], np.zeros(1))
