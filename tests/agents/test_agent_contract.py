"""The contract of an agent, for every built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from autocomp.agents import AGENTS, Agent, SearchTask, make_agent
from autocomp.search_spaces import make_space
from stable_baselines3 import DDPG, PPO, SAC, TD3

from autocomp.errors import AgentError, AutocompError, BudgetError, UnknownNameError
from autocomp.testing import AgentContract
from autocomp.testing.toy_problem import ToyProblem

LEARNED = ("ddpg", "td3", "sac", "ppo")
SOLVERS = ("dp", "ilp")
NUMBERS = ("ddpg", "td3", "sac", "cmaes")
SPACE = "bits:weight_bits=2/3/4/6/8"
COEFFICIENTS = f"coefficients:menu={SPACE.replace(':', ',')}"
WHOLE = [f"{name}:env=whole-plan" for name in LEARNED]


class BuiltIn(AgentContract):
    """Learning agents are small where it is not tested that they learn."""

    @pytest.fixture(autouse=True)
    def _choose(self, name: str, request: pytest.FixtureRequest, make_small: Any) -> None:
        self.name = name
        self.make_agent = make_agent if "optimum" in request.node.name else make_small
        self.reaches_optimum = name not in ("uniform", *WHOLE)
        self.informed = name in SOLVERS
        self.draws = name not in ("uniform", "greedy", *SOLVERS)
        self.discrete = name.partition(":")[0] not in NUMBERS

    def make(self) -> Agent:
        made: Agent = self.make_agent(self.name)
        return made


@pytest.mark.parametrize("name", AGENTS)
class TestBuiltIn(BuiltIn):
    pass


@pytest.mark.parametrize("name", WHOLE)
class TestWholePlan(BuiltIn):
    pass


@pytest.mark.parametrize("name", ["posterior", "local", "cmaes", "ddpg", "ppo:env=whole-plan"])
def test_multipliers_make_up_for_wrong_estimates(name: str, make_toy: Any) -> None:
    toy = make_toy("size=12%")
    space = make_space(COEFFICIENTS)
    found = make_agent(name).search(SearchTask.of(toy, space, 60, 0))
    first, best = found.outcomes[0].accuracy, toy.optimum(space)
    assert found.best is not None
    assert found.best.accuracy - first > 0.8 * (best - first)


def test_uniform_finds_the_best_single_choice(toy: Any) -> None:
    space = make_space("joint:levels=5,weight_bits=2/4/8")
    found = make_agent("uniform").search(SearchTask.of(toy, space, 50, 0))
    assert all(len(set(o.plan.values())) == 1 for o in found.outcomes)
    feasible = []
    for choice in space.choices(toy.network.layers[0]):
        plan = type(toy.network.neutral_plan())(dict.fromkeys(toy.network.names, choice))
        if toy.cost(plan) <= toy.limits["size"]:
            feasible.append(1 - toy.loss(plan))
    assert found.best is not None
    assert found.best.accuracy == pytest.approx(max(feasible))


@pytest.mark.parametrize("name", [*LEARNED, "tpe"])
def test_learning_beats_its_own_warm_up(name: str, make_toy: Any, make_small: Any) -> None:
    toy = make_toy("size=12%")
    space = make_space("joint:levels=8,weight_bits=2/3/4/6/8")
    found = make_small(name).search(SearchTask.of(toy, space, 80, 0))
    early = max(o.accuracy for o in found.outcomes[:16])
    late = max(o.accuracy for o in found.outcomes[16:])
    assert late > early


@pytest.mark.parametrize("name", NUMBERS)
def test_a_space_it_cannot_use_is_named(name: str, toy: Any) -> None:
    space = make_space(SPACE, discrete=True)
    with pytest.raises(AgentError, match=rf"`{name}` needs a continuous space"):
        make_agent(name).search(SearchTask.of(toy, space, 5, 0))


@pytest.mark.parametrize("name", AGENTS)
def test_a_budget_out_of_reach_is_passed_on(name: str, make_toy: Any, make_small: Any) -> None:
    class Strict(make_toy):  # type: ignore[misc]
        def allocation(self, *given: Any) -> Any:
            raise BudgetError("out of reach")

    with pytest.raises(BudgetError):
        make_small(name).search(SearchTask.of(Strict("size=1%"), make_space(SPACE), 5, 0))


@pytest.mark.parametrize(
    ("name", "kind"), [("ddpg", DDPG), ("td3", TD3), ("sac", SAC), ("ppo", PPO)]
)
def test_the_learned_policy_is_saved_and_loads(
    name: str, kind: Any, toy: Any, tmp_path: Path, make_small: Any
) -> None:
    result = make_small(name).search(SearchTask.of(toy, make_space(SPACE), 8, 0))
    assert result.save is not None
    policy = kind.load(result.save(tmp_path))
    action, _ = policy.predict(np.zeros(policy.observation_space.shape, np.float32))
    assert policy.action_space.contains(action)


def test_the_study_is_stored_with_constraints(toy: Any, tmp_path: Path) -> None:
    file = tmp_path / "study.log"
    agent = make_agent("tpe", storage=str(file))
    agent.search(SearchTask.of(toy, make_space(SPACE), 8, 0))
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.load_study(
        study_name="autocomp", storage=optuna.storages.journal.JournalStorage(backend)
    )
    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(done) >= 8
    assert all(t.constraints["size"] <= 0 for t in done)
    assert all("plan" in t.user_attrs for t in done)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("dpg", UnknownNameError, "Did you mean 'ddpg'"),
        ("ddpg:enw=layerwise", AgentError, "Did you mean 'env'"),
        ("ddpg:env=hole-plan", AgentError, "Did you mean 'whole-plan'"),
        ("sac:reward=accurate", UnknownNameError, "Did you mean 'accuracy'"),
        ("ppo:warm_up=2", AgentError, "0 <= warm_up < 1"),
        ("ppo:episodes=0", AgentError, "1 <= episodes"),
    ],
)
def test_bad_options_say_what_is_wrong(text: str, error: type[AutocompError], words: str) -> None:
    with pytest.raises(error, match=words):
        make_agent(text)


@pytest.mark.parametrize("n", [0, -3])
def test_no_evaluations_are_refused(n: int, toy: Any) -> None:
    with pytest.raises(AgentError, match="at least 1 evaluation"):
        make_agent("random").search(SearchTask.of(toy, make_space(SPACE), n, 0))


@pytest.mark.parametrize("name", AGENTS)
def test_a_space_of_one_plan_is_searched_in_one_evaluation(name: str, make_small: Any) -> None:
    toy = ToyProblem("size=100%")
    found = make_small(name).search(SearchTask.of(toy, "bits:weight_bits=8", 5, 0))
    assert [str(choice) for choice in found.outcomes[0].plan.values()] == ["w8"] * 4
    assert len(found.outcomes) == 1
