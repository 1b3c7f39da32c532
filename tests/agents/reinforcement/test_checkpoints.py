"""What a learning agent leaves as it goes: looks at its policy, and networks that can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocomp.agents import make_agent
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.checkpoints import LOOKS, NETWORKS, PolicyCheckpoints
from autocomp.agents.reinforcement.transfer import load_policy
from autocomp.agents.task import SearchTask
from autocomp.envs import LayerwiseEnv
from autocomp.search_spaces import feasible_space, make_space

from autocomp.core.plan import Plan

JOINT = "joint:levels=8,weight_bits=2/3/4/6/8"


def search(text: str, toy: Any, folder: Path, n: int, seed: int = 0) -> tuple[Any, list[Plan]]:
    few = {} if text.startswith("ppo") else {"pretrain_steps": 40, "updates": 2, "imitation": 2}
    agent: Any = make_agent(text, width=16, clone_steps=40, **few)
    found = agent.search(SearchTask.of(toy, make_space(JOINT), n, seed, folder=folder))
    return agent, [outcome.plan for outcome in found.outcomes]


def looks(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOOKS).read_text().splitlines()]


@pytest.mark.parametrize("text", ["ppo:episodes=1", "ppo:env=whole-plan,episodes=2"])
def test_about_twenty_looks_from_the_warm_up_to_the_end(
    text: str, make_toy: Any, tmp_path: Path
) -> None:
    n = 60
    agent, plans = search(text, make_toy("size=12%"), tmp_path, n)
    found = looks(tmp_path)
    times = [look["evaluations"] for look in found]
    assert times[0] == round(0.2 * n)  # at the end of the warm-up
    assert times[-1] == len(plans) == n
    assert times == sorted(times) and 10 <= len(times) <= 21
    assert all(b - a >= 3 for a, b in zip(times[:-2], times[1:-1], strict=True))
    assert all(np.shape(look["actions"]) == (4, 2) for look in found)
    assert all(abs(x) <= 1 for look in found for row in look["actions"] for x in row)
    assert found[0]["actions"] != found[-1]["actions"]


@pytest.mark.parametrize("n", [1, 7, 20, 39, 100])
def test_looks_are_at_most_about_twenty(n: int, toy: Any, tmp_path: Path, make_small: Any) -> None:
    feasible = feasible_space(toy, JOINT)
    agent = make_small("ppo")
    assert isinstance(agent, ReinforcementAgent)
    from autocomp.agents.reinforcement.episodes import EpisodeLog
    from autocomp.agents.reinforcement.random_state import private_random_state

    with private_random_state():
        model = agent.build(EpisodeLog(LayerwiseEnv(feasible)), feasible, 0)
    (tmp_path / LOOKS).write_text("of an earlier session\n")
    trail = PolicyCheckpoints(tmp_path, feasible, "layerwise", n)
    assert not (tmp_path / LOOKS).exists()
    for done in range(n):
        trail.look(model, done)
    trail.look(model, n, last=True)
    times = [look["evaluations"] for look in looks(tmp_path)]
    assert times[0] == 0 and times[-1] == n
    assert min(n, 10) <= len(times) <= 21


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_the_last_look_is_the_saved_policys_plan(text: str, make_toy: Any, tmp_path: Path) -> None:
    toy = make_toy("size=12%")
    agent, _ = search(text, toy, tmp_path, 9)
    feasible = feasible_space(toy, JOINT)
    agent.policy = str(tmp_path / NETWORKS)
    model = agent.learned(LayerwiseEnv(feasible), feasible, seed=99)
    shown = propose(model, feasible).actions.round(4).tolist()
    assert looks(tmp_path)[-1] == {"evaluations": 9, "actions": shown}
    load_policy(model, tmp_path)  # the folder names it, too


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_a_search_that_is_made_again_leaves_the_same_looks(
    text: str, make_toy: Any, tmp_path: Path
) -> None:
    first = search(text, make_toy("size=12%"), tmp_path, 9, seed=4)[1]
    data = (tmp_path / LOOKS).read_bytes()
    assert search(text, make_toy("size=12%"), tmp_path, 9, seed=4)[1] == first
    assert (tmp_path / LOOKS).read_bytes() == data
    search(text, make_toy("size=12%"), tmp_path, 9, seed=5)
    assert (tmp_path / LOOKS).read_bytes() != data


def test_looking_changes_no_search(make_toy: Any, tmp_path: Path, make_small: Any) -> None:
    watched = search("ddpg", make_toy("size=12%"), tmp_path, 9, seed=1)[1]
    alone = make_small("ddpg").search(SearchTask.of(make_toy("size=12%"), make_space(JOINT), 9, 1))
    assert [outcome.plan for outcome in alone.outcomes] == watched


def test_a_search_that_is_killed_keeps_a_policy(
    make_toy: Any, tmp_path: Path, make_small: Any
) -> None:
    toy = make_toy("size=12%")
    agent: Any = make_small("ppo:episodes=1")
    count = 0

    def stop(outcome: Any) -> None:
        nonlocal count
        count += 1
        if count == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.search(SearchTask.of(toy, JOINT, 20, 0, on_outcome=stop, folder=tmp_path))
    assert looks(tmp_path)[0]["evaluations"] == 4
    feasible = feasible_space(toy, JOINT)
    agent.policy = str(tmp_path / NETWORKS)
    assert len(propose(agent.learned(LayerwiseEnv(feasible), feasible), feasible).indices) == 4
