"""Training a policy that travels, and a search on another network that begins with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.checkpoints import NETWORKS
from autocomp.envs import LayerwiseEnv
from autocomp.search_spaces import feasible_space
from torch import nn

import autocomp
from autocomp.api.train_policy import (
    EPISODES,
    TRAINING,
    TrainedPolicy,
    TrainingNetwork,
    budget_range,
    train_policy,
)
from autocomp.errors import AgentError, AutocompError, BudgetError, RunError
from autocomp.problem.problem import CompressionProblem, ProblemSettings

SPACE = "joint:levels=5,weight_bits=2/4/8"


def shallow(width: int) -> nn.Module:
    """A network of two layers that was not trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        layers = (nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 4))
        return nn.Sequential(*layers).eval()


def train(folder: Path, tiny_net: Any, tiny_data: Any, **more: Any) -> TrainedPolicy:
    settings: dict[str, Any] = {
        "budget": "size=12%..30%", "agent": "ppo", "space": SPACE, "episodes": 14,
        "n_budgets": 2, "level": "F0",
    }  # fmt: skip
    pupils = [TrainingNetwork(tiny_net, tiny_data), TrainingNetwork(shallow(12), tiny_data)]
    return train_policy(pupils, out=folder, **{**settings, **more})


# ---- ranges


def test_budgets_are_even_in_the_logarithm() -> None:
    found = budget_range("size=2%..32%", 5)
    assert [str(budget) for budget in found] == [
        "size=32%", "size=16%", "size=8%", "size=4%", "size=2%",
    ]  # fmt: skip
    assert [str(b) for b in budget_range("macs=25%..100%", 3)] == ["macs=100%", "macs=50%",
                                                                  "macs=25%"]  # fmt: skip
    assert [str(b) for b in budget_range("size=2%..32%", 1)] == ["size=32%"]
    assert [str(b) for b in budget_range("size=2%..32%", 2)] == ["size=32%", "size=2%"]


@pytest.mark.parametrize("text", ["size=8%", "size=0.08", "size=8%..8%"])
def test_one_budget_is_a_range(text: str) -> None:
    assert [str(budget) for budget in budget_range(text, 6)] == ["size=8%"]


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("size=12%..3%", 6), ("size=3%..12%", 0), ("size=3kB..12kB", 6), ("size=3%..12kB", 6),
        ("size=3%..", 6), ("size=..3%", 6), ("size", 6), ("", 6), ("size=3%..120%", 6),
        ("size=0%..3%", 6), ("size=3%..6%..12%", 6), ("size=3%..12%,macs=50%", 6),
    ],
)  # fmt: skip
def test_what_is_no_range_is_refused_in_one_line(text: str, n: int) -> None:
    with pytest.raises(BudgetError) as caught:
        budget_range(text, n)
    assert "\n" not in str(caught.value)


# ---- training


@pytest.fixture(scope="module")
def trained(
    _trained_tiny: Any, tiny_data: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedPolicy, list[tuple[int, int, float]]]:
    told: list[tuple[int, int, float]] = []
    folder = tmp_path_factory.mktemp("trained") / "deep" / "policy"
    found = train(folder, _trained_tiny, tiny_data, on_episode=lambda *one: told.append(one))
    return found, told


def test_training_leaves_a_policy_and_its_record(trained: Any) -> None:
    found, told = trained
    assert {file.name for file in found.path.iterdir()} == {NETWORKS, TRAINING, EPISODES}
    values = json.loads((found.path / TRAINING).read_text())
    budgets = [[0, "size=30%"], [0, "size=12%"], [1, "size=30%"], [1, "size=12%"]]
    assert values == {
        "agent": "ppo", "space": SPACE, "budget": "size=12%..30%", "level": "F0", "seed": 0,
        "episodes": len(found.returns), "lessons": budgets, "share": found.share,
        "problems": [["<object>", "", "<object>"], ["<object>", "", "<object>"]],
    }  # fmt: skip
    assert [list(lesson) for lesson in found.budgets] == budgets
    lines = [json.loads(line) for line in (found.path / EPISODES).read_text().splitlines()]
    assert [line["lesson"] for line in lines] == list(found.tasks)
    assert [line["return"] for line in lines] == pytest.approx(list(found.returns), abs=1e-6)
    assert told == list(zip(range(len(told)), found.tasks, found.returns, strict=True))
    assert len(told) >= 14 and set(found.tasks) == {0, 1, 2, 3}
    assert max(found.returns) == 0  # estimates: nothing is better than the solver's own plan


def test_the_same_seed_trains_the_same(
    trained: Any, tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    again = train(tmp_path / "again", tiny_net, tiny_data)
    assert (again.returns, again.tasks, again.budgets) == (
        trained[0].returns, trained[0].tasks, trained[0].budgets,
    )  # fmt: skip
    other = train(tmp_path / "other", tiny_net, tiny_data, seed=1)
    assert other.returns != again.returns


def test_measured_training_may_beat_the_solver(
    tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    found = train(tmp_path / "r", tiny_net, tiny_data, level="F1", episodes=8, search_images=40)
    assert found.returns[0] == 0  # the solver's own plan
    assert np.isfinite(found.returns).all() and min(found.returns) >= -3


def test_a_search_on_a_third_network_begins_with_it(
    trained: Any, tiny_data: Any, tmp_path: Path
) -> None:
    third = shallow(20)
    found = autocomp.search(
        third, tiny_data, "size=20%", agent="ppo", space=SPACE, evaluations=4, report="none",
        policy=str(trained[0].path), out=tmp_path / "r", warm_start="none",
    )  # fmt: skip
    assert found.run.config()["settings"]["policy"] == str(trained[0].path)
    problem = CompressionProblem(third, tiny_data, "size=20%", ProblemSettings())
    feasible = feasible_space(problem, SPACE)
    agent: Any = autocomp.agents.make_agent("ppo", policy=str(trained[0].path))
    model = agent.learned(LayerwiseEnv(feasible), feasible)
    assert found.outcomes[0].plan == feasible.plan(propose(model, feasible).indices)


# ---- what is refused, before anything is written


def test_a_folder_that_is_not_empty_is_refused(
    tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(RunError, match="new or empty folder") as caught:
            train(folder, tiny_net, tiny_data)
        assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"agent": "tpe"}, AgentError, "with a learning agent .*but got TPEAgent"),
        ({"agent": "ddgp"}, AutocompError, "Did you mean 'ddpg'"),
        ({"agent": "ppo:env=whole-plan"}, AgentError, "layer by layer"),
        ({"episodes": 3}, AgentError, "each of the 4 tasks, but got 3"),
        ({"agent": "ddpg", "space": f"{SPACE},discrete=true"}, AgentError, "continuous space"),
        ({"level": "F2"}, AgentError, "level"),
        ({"budget": "size=1%..2%"}, BudgetError, "reaches .* at least"),
        ({"budget": "sise=12%..30%"}, AutocompError, "Did you mean 'size'"),
        ({"search_imagez": 40}, AutocompError, "search_images"),
        ({"warm_start": "dp"}, AutocompError, "warm_start"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(
    more: dict[str, Any], error: type[Exception], words: str, tiny_net: Any, tiny_data: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(error, match=words) as caught:
        train(tmp_path / "r", tiny_net, tiny_data, **more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_no_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="at least one network"):
        train_policy([], out=tmp_path / "r")


def test_budgets_out_of_reach_of_a_network_are_left_out(
    tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    """A menu of 8 bits alone reaches a quarter of the bytes and little less."""
    found = train(
        tmp_path / "r", tiny_net, tiny_data, budget="size=2%..50%", n_budgets=3,
        space="bits:weight_bits=8/4", episodes=6,
    )  # fmt: skip
    assert {number for number, _ in found.budgets} == {0, 1}
    assert {budget for _, budget in found.budgets} == {"size=50%"}
    assert len(found.budgets) == 2
