"""Beginning with a policy that was learned elsewhere: taken over, tried first, or refused."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.agents import make_agent
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.checkpoints import NETWORKS, save
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.agents.reinforcement.transfer import algorithm_of, load_policy, policy_file
from autocomp.agents.starts import starting_plans
from autocomp.agents.task import SearchTask
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import feasible_space, make_space

from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.errors import AgentError

JOINT = "joint:levels=8,weight_bits=2/3/4/6/8"
BITS = "bits:weight_bits=2/3/4/6/8"
COEFFICIENTS = "coefficients:menu=bits,weight_bits=2/3/4/6/8"
LEARNED = ("ddpg", "td3", "sac", "ppo")


def build(text: str, toy: Any, space: str = JOINT, seed: int = 0) -> Any:
    """An algorithm that has learned nothing."""
    agent: Any = make_agent(text, width=16)  # as wide as those of `make_small`
    feasible = feasible_space(toy, space)
    env: Any = LayerwiseEnv if agent.env == "layerwise" else WholePlanEnv
    with private_random_state():
        return agent.build(EpisodeLog(env(feasible)), feasible, seed)


def opinionated(model: Any) -> Any:
    """An untrained network asks for little; this one asks for much."""
    head = model.policy.action_net if hasattr(model.policy, "action_net") else model.actor.mu[-2]
    with torch.no_grad():
        head.weight *= 100
    return model


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


@pytest.mark.parametrize("name", LEARNED)
def test_networks_are_taken_over(name: str, make_toy: Any, tmp_path: Path) -> None:
    old = build(name, make_toy("size=12%"))
    save(old, tmp_path)
    new = build(name, make_toy("size=10%"), seed=7)  # other budget, other seed
    before = weights(new)
    load_policy(new, tmp_path)
    assert policy_file(tmp_path) == policy_file(tmp_path / NETWORKS) == tmp_path / NETWORKS
    changed = 0
    for key, value in weights(new).items():
        if key != "log_std":
            assert torch.equal(value, weights(old)[key])
        changed += not torch.equal(value, before[key])
    assert changed > 4


def test_a_policy_keeps_the_new_searchs_spread(toy: Any, tmp_path: Path) -> None:
    old = build("ppo:sigma=0.05", toy)
    save(old, tmp_path)
    new = build("ppo:sigma=0.5", toy, seed=1)
    load_policy(new, tmp_path)
    assert new.policy.log_std.tolist() == pytest.approx([np.log(0.5)] * 2)
    assert old.policy.log_std.tolist() == pytest.approx([np.log(0.05)] * 2)


def test_a_missing_policy_is_refused_when_the_agent_is_made(
    tmp_path: Path, make_small: Any
) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(AgentError, match="must name a run of a learning agent") as caught:
            make_small("ddpg", policy=str(path))
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def damaged(folder: Path, kind: str, model: Any) -> Path:
    file = save(model, folder)
    if kind == "text":
        file.write_text("no archive")
    elif kind == "cut off":
        file.write_bytes(file.read_bytes()[:-2000])
    elif kind == "empty archive":
        zipfile.ZipFile(file, "w").close()
    elif kind == "no weights":
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(folder / "new.zip", "w") as new:
            for part in old.namelist():
                if part != "policy.pth":
                    new.writestr(part, old.read(part))
        (folder / "new.zip").replace(file)
    return file


@pytest.mark.parametrize("kind", ["text", "cut off", "empty archive", "no weights"])
def test_a_damaged_policy_is_refused_in_one_line(kind: str, toy: Any, tmp_path: Path) -> None:
    model = build("ppo", toy)
    before = weights(model)
    file = damaged(tmp_path, kind, model)
    with pytest.raises(AgentError, match="cannot be read") as caught:
        load_policy(model, file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [("ppo", "ddpg", "DDPG"), ("ddpg", "ppo", "PPO"), ("td3", "ddpg", "DDPG"),
     ("sac", "td3", "TD3"), ("ddpg", "sac", "SAC")],
)  # fmt: skip
def test_another_algorithms_policy_is_refused(
    old: str, new: str, name: str, toy: Any, tmp_path: Path
) -> None:
    save(build(old, toy), tmp_path)
    with pytest.raises(AgentError, match=rf"other parts than those of {name} here;") as caught:
        load_policy(build(new, toy), tmp_path)
    assert "\n" not in str(caught.value)
    assert algorithm_of(build(new, toy)) == name


@pytest.mark.parametrize(
    ("text", "space", "words"),
    [
        ("ppo", BITS, "has shape"),
        ("ppo", f"{JOINT},discrete=true", "kind of action"),
        ("ppo:env=whole-plan", JOINT, "has shape"),
    ],
)
def test_another_spaces_policy_is_refused(
    text: str, space: str, words: str, toy: Any, tmp_path: Path
) -> None:
    save(build("ppo", toy), tmp_path)
    with pytest.raises(AgentError, match=words) as caught:
        load_policy(build(text, toy, space), tmp_path)
    assert "\n" not in str(caught.value)


# ---- the search that begins with it


def plan_of(*bits: int) -> Plan:
    return Plan({f"l{t}": Choice.of(weight_bits=b) for t, b in enumerate(bits)})


@pytest.mark.parametrize("space", [BITS, COEFFICIENTS])
@pytest.mark.parametrize("text", ["ddpg", "ppo", "ppo:env=whole-plan"])
def test_its_own_plan_is_tried_first(
    text: str, space: str, toy: Any, tmp_path: Path, make_small: Any
) -> None:
    model = opinionated(build(text, toy, space, seed=4))
    save(model, tmp_path)
    feasible = feasible_space(toy, space)
    agent: Any = make_small(text, policy=str(tmp_path))
    own = feasible.plan(propose(model, feasible, agent.env).indices)
    assert own != feasible.plan(starting_plans(feasible, 1)[0])  # else nothing would be shown
    found = agent.search(SearchTask.of(toy, make_space(space), 6, 0))
    assert found.outcomes[0].plan == own == toy.evaluated[0]

    toy.evaluated.clear()
    starts = [plan_of(6, 3, 4, 3), plan_of(2, 2, 2, 3)]
    found = agent.search(SearchTask.of(toy, make_space(space), 6, 0, starts=starts))
    first = [outcome.plan for outcome in found.outcomes[:3]]
    assert sorted(map(str, first)) == sorted(map(str, [*starts, own]))
    assert toy.evaluated[0] in starts and toy.evaluated[2] == own or space == COEFFICIENTS
    assert len(found.outcomes) <= 6


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_the_same_seed_and_policy_give_the_same_outcomes(
    text: str, make_toy: Any, tmp_path: Path, make_small: Any
) -> None:
    save(build(text, make_toy("size=12%")), tmp_path)

    def plans(seed: int, policy: str) -> list[Plan]:
        torch.rand(3)  # what else ran in the process must not matter
        found = make_small(text, policy=policy).search(
            SearchTask.of(make_toy("size=12%"), make_space(JOINT), 7, seed)
        )
        return [outcome.plan for outcome in found.outcomes]

    assert plans(2, str(tmp_path)) == plans(2, str(tmp_path / NETWORKS))
    assert plans(2, str(tmp_path)) != plans(2, "")


def test_the_search_goes_on_learning_the_networks(
    toy: Any, tmp_path: Path, make_small: Any
) -> None:
    """Two policies that differ far from what the warm-up shows stay different."""
    finals = []
    for shift in (0.0, 3.0):
        model = build("ppo", toy)
        with torch.no_grad():
            model.policy.value_net.bias += shift
        save(model, tmp_path)
        agent: Any = make_small("ppo", policy=str(tmp_path))
        found = agent.search(SearchTask.of(toy, make_space(JOINT), 4, 0))
        assert found.save is not None
        (tmp_path / f"{shift}").mkdir()
        found.save(tmp_path / f"{shift}")
        again = build("ppo", toy)
        load_policy(again, tmp_path / f"{shift}")
        finals.append(float(again.policy.value_net.bias.detach()))
    assert finals[1] - finals[0] > 2


def test_a_policy_of_another_algorithm_stops_the_search(
    toy: Any, tmp_path: Path, make_small: Any
) -> None:
    save(build("ppo", toy), tmp_path)
    with pytest.raises(AgentError, match="other parts than those of DDPG"):
        make_small("ddpg", policy=str(tmp_path)).search(SearchTask.of(toy, make_space(JOINT), 4, 0))
    assert not toy.evaluated


def test_nothing_in_a_policy_file_is_run(toy: Any, tmp_path: Path) -> None:
    """A file of Stable-Baselines3 also holds pickles; somebody else's could run anything."""

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    model = build("ppo", toy)
    file = save(model, tmp_path)
    trap = base64.b64encode(pickle.dumps(Trap())).decode()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for part in old.namelist():
            text = old.read(part)
            if part == "data":
                text = json.dumps({"action_space": {":type:": "x", ":serialized:": trap}}).encode()
            new.writestr(part, text)
    load_policy(model, tmp_path / "new.zip")
    assert not (tmp_path / "sprung").exists()
    assert isinstance(pickle.loads(base64.b64decode(trap)), type(None))
    assert (tmp_path / "sprung").exists()  # the trap works
