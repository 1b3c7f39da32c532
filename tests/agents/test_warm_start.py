"""Warm starts: evaluated first by every agent, learned from, and refused if they do not fit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from autocomp.agents import AGENTS
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.task import SearchTask
from autocomp.search_spaces import FeasibleSpace, make_space

from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.errors import AgentError

SPACE = "bits:weight_bits=2/3/4/6/8"
COEFFICIENTS = "coefficients:menu=bits,weight_bits=2/3/4/6/8"
LEARNED = [
    f"{name}:env={env}"
    for name, env in itertools.product(("ddpg", "td3", "sac", "ppo"), ("layerwise", "whole-plan"))
]


def plan_of(*bits: int) -> Plan:
    return Plan({f"l{t}": Choice.of(weight_bits=b) for t, b in enumerate(bits)})


# feasible at 12 %, one near the budget and one far below it
STARTS = [plan_of(6, 3, 4, 3), plan_of(2, 2, 2, 3)]


@pytest.mark.parametrize("text", [SPACE, COEFFICIENTS])
@pytest.mark.parametrize("name", [*AGENTS, "ddpg:env=whole-plan", "ppo:env=whole-plan"])
def test_starts_come_first(name: str, text: str, toy: Any, make_small: Any) -> None:
    agent, space = make_small(name), make_space(text)
    found = agent.search(SearchTask.of(toy, space, 8, 0, starts=STARTS))
    assert sorted(str(o.plan) for o in found.outcomes[:2]) == sorted(map(str, STARTS))
    assert found.outcomes[0].plan == STARTS[0] or text == COEFFICIENTS
    assert len(found.outcomes) <= 8


@pytest.mark.parametrize("name", AGENTS)
def test_the_solvers_plan_is_a_start_like_any_other(name: str, toy: Any, make_small: Any) -> None:
    for text in (SPACE, COEFFICIENTS):
        feasible = FeasibleSpace.build(toy, make_space(SPACE))
        start = feasible.plan(feasible.allocation.plan)
        space = make_space(text)
        found = make_small(name).search(SearchTask.of(toy, space, 1, 3, starts=[start]))
        assert [o.plan for o in found.outcomes] == [start]


@pytest.mark.parametrize("text", [SPACE, COEFFICIENTS])
@pytest.mark.parametrize("name", LEARNED)
def test_episodes_hold_the_start(
    name: str, text: str, make_toy: Any, monkeypatch: pytest.MonkeyPatch, make_small: Any
) -> None:
    toy = make_toy("size=12%", informed=True)  # nothing is better than the start
    logs: list[EpisodeLog] = []
    prepare = type(make_small(name)).prepare

    def watch(self: ReinforcementAgent, model: Any, env: EpisodeLog) -> None:
        logs.append(env)
        prepare(self, model, env)
        if hasattr(model, "replay_buffer"):
            assert model.replay_buffer.size() == sum(map(len, env.episodes))

    monkeypatch.setattr(type(make_small(name)), "prepare", watch)
    feasible = FeasibleSpace.build(toy, make_space(SPACE))
    start = feasible.plan(feasible.allocation.plan)
    make_small(name).search(SearchTask.of(toy, make_space(text), 10, 0, starts=[start]))
    (log,) = logs
    assert log._plans[0] == start
    best = log.best(1)[0]
    assert sum(step.reward for step in best) == pytest.approx(-toy.loss(start))


@pytest.mark.parametrize("text", [SPACE, COEFFICIENTS])
@pytest.mark.parametrize("name", ["tpe", "nsga2", "cmaes"])
def test_the_study_holds_the_start(
    name: str, text: str, toy: Any, tmp_path: Path, make_small: Any
) -> None:
    feasible = FeasibleSpace.build(toy, make_space(SPACE))
    start = feasible.plan(feasible.allocation.plan)
    agent = make_small(name, storage=str(tmp_path / "study"))
    agent.search(SearchTask.of(toy, make_space(text), 12, 0, starts=[start]))
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study"))
    study = optuna.load_study(
        study_name="autocomp", storage=optuna.storages.journal.JournalStorage(backend)
    )
    first = study.trials[0]
    assert first.user_attrs["plan"] == start.to_json()
    if name == "cmaes":  # the next ones are drawn around it
        drawn = np.array([list(t.params.values()) for t in study.trials[1:6]])
        sigma = 0.3 if text == SPACE else 0.1
        assert np.abs(drawn - list(first.params.values())).mean() < 1.5 * sigma


@pytest.mark.parametrize("name", ["ddpg", "tpe", "cmaes", "local", "greedy"])
def test_the_same_seed_gives_the_same_outcomes(name: str, make_toy: Any, make_small: Any) -> None:
    def plans() -> list[Plan]:
        space, toy = make_space(COEFFICIENTS), make_toy("size=12%")
        found = make_small(name).search(SearchTask.of(toy, space, 14, 2, starts=STARTS[:1]))
        return [o.plan for o in found.outcomes]

    assert plans() == plans()


@pytest.mark.parametrize("name", ["ddpg", "ppo", "tpe", "local"])
def test_a_search_never_ends_below_its_start(name: str, make_toy: Any, make_small: Any) -> None:
    toy = make_toy("size=12%", informed=True)
    feasible = FeasibleSpace.build(toy, make_space(SPACE))
    start = feasible.plan(feasible.allocation.plan)
    found = make_small(name).search(SearchTask.of(toy, feasible.space, 10, 0, starts=[start]))
    assert found.best is not None
    assert found.best.plan == start


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize(
    ("start", "words"),
    [
        (plan_of(5, 3, 3, 3), "from the search space"),
        (plan_of(8, 8, 8, 8), r"costs \[704\] of \[337\]"),
        (plan_of(2, 2), r"must have the layers"),
    ],
)
def test_starts_that_do_not_fit_are_refused(
    name: str, start: Plan, words: str, toy: Any, make_small: Any
) -> None:
    with pytest.raises(AgentError, match=words) as caught:
        make_small(name).search(SearchTask.of(toy, make_space(SPACE), 5, 0, starts=[start]))
    assert "\n" not in str(caught.value)
    assert not toy.evaluated
