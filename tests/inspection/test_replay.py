"""A saved policy, asked what it would do: budgets, the critic, features, and its way there."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from autocomp.agents import make_agent
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.checkpoints import LOOKS, NETWORKS, PolicyCheckpoints, save
from autocomp.agents.reinforcement.critics import ActionCritic, StateCritic
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.envs import ENVS
from autocomp.envs.observations import feature_names
from autocomp.search_spaces import FeasibleSpace, SearchSpace, feasible_space, make_space
from torch import nn

from autocomp.inspection.findings import Findings
from autocomp.inspection.policy import PolicyPicture
from autocomp.inspection.replay import FACTORS, PolicyReplay, movement

JOINT = "joint:levels=6,weight_bits=2/4/8"
COEFFICIENTS = "coefficients:menu=joint,levels=6,weight_bits=2/4/8"
CASES = [
    ("ddpg", JOINT, "DDPG"),
    ("td3", JOINT, "TD3"),
    ("sac", JOINT, "SAC"),
    ("ppo", JOINT, "PPO"),
    ("ppo", f"{JOINT},discrete=true", "PPO"),
    ("ddpg:env=whole-plan", JOINT, "DDPG"),
    ("ppo:env=whole-plan", JOINT, "PPO"),
    ("ddpg", COEFFICIENTS, "DDPG"),
    ("ppo", COEFFICIENTS, "PPO"),
    ("ppo", f"{COEFFICIENTS},discrete=true", "PPO"),
    ("ddpg:env=whole-plan", COEFFICIENTS, "DDPG"),
]
Change = Callable[[Any], None]
GRID = ActionCritic.grid


def untrained(
    text: str, feasible: FeasibleSpace, folder: Path, change: Change | None = None
) -> Any:
    """Saves a policy that has learned nothing, and a look at it; returns its agent."""
    agent = make_agent(text, width=16)
    assert isinstance(agent, ReinforcementAgent)
    with private_random_state():
        env = EpisodeLog(
            gymnasium.make(ENVS[agent.env], problem=feasible, disable_env_checker=True)
        )
        model: Any = agent.build(env, feasible, 0)
    with torch.no_grad():
        if change is not None:
            change(model)
    PolicyCheckpoints(folder, feasible, agent.env, 10).look(model, 3)
    save(model, folder)
    return agent


def picture(
    text: str, feasible: FeasibleSpace, folder: Path, change: Change | None = None
) -> tuple[PolicyPicture, PolicyReplay]:
    replay = replayed(untrained(text, feasible, folder, change), feasible, folder)
    return replay.picture(folder), replay


def replayed(agent: Any, feasible: FeasibleSpace, folder: Path) -> PolicyReplay:
    learned = agent.learned_policy(folder, feasible)
    assert learned is not None
    return PolicyReplay(learned, feasible)


@pytest.mark.parametrize(("text", "space", "name"), CASES)
def test_every_learning_agent_is_shown(
    text: str, space: str, name: str, menu_of: Any, tmp_path: Path
) -> None:
    feasible = menu_of(space)
    found, replay = picture(text, feasible, tmp_path)
    n, width = len(feasible), feasible.vector.width
    assert found.algorithm == name
    assert found.layers == tuple(layer.name for layer in feasible.layers)
    assert len(found.entries) == width

    sweep = found.sweep
    assert sweep.budgets[sweep.own] == "size=10.00%"
    limits = [float(label.removeprefix("size=").rstrip("%")) for label in sweep.budgets]
    assert limits == sorted(limits) and 5 < len(limits) <= len(FACTORS)
    assert len(sweep.actions) == len(sweep.choices) == len(sweep.estimated) == len(limits)
    assert all(np.shape(actions) == (n, width) for actions in sweep.actions)
    assert all(len(choices) == n for choices in sweep.choices)
    assert all(a >= b - 1e-12 for a, b in zip(sweep.estimated, sweep.solver, strict=True))
    assert list(sweep.solver) == sorted(sweep.solver, reverse=True)  # more bytes, less loss
    proposal = propose(replay._model, feasible, make_agent(text).env)  # type: ignore[attr-defined]
    assert sweep.actions[sweep.own] == tuple(map(tuple, proposal.actions.round(4).tolist()))
    chosen = [feasible.choices[t][i] for t, i in enumerate(proposal.indices)]
    assert sweep.choices[sweep.own] == tuple(map(str, chosen))

    whole_plan_without_critic = name == "PPO" and "whole-plan" in text
    shown = 0 if whole_plan_without_critic else n - (name == "PPO")
    assert [surface.layer for surface in found.surfaces] == list(found.layers[:shown])
    for surface in found.surfaces:
        grid = StateCritic.grid if name == "PPO" else GRID
        assert len(surface.xs) == grid and len(surface.ys) == (grid if width > 1 else 1)
        assert np.shape(surface.values) == (len(surface.ys), len(surface.xs))
        assert len(surface.at) == min(2, width)
    assert len(found.influences) == (3 if "whole-plan" in text else len(feature_names(width)))
    assert [i.effect for i in found.influences] == sorted(
        (i.effect for i in found.influences), reverse=True
    )
    assert found.movement.evaluations == (3,)
    assert found.movement.actions == (sweep.actions[sweep.own],)
    json.dumps(Findings("k", "F1", "size", "bytes", (), policy=found).to_json(), allow_nan=False)


def test_a_coupled_menu_is_swept_over_all_its_budgets(menu_of: Any, tmp_path: Path) -> None:
    feasible = menu_of("structured:levels=4", "size=60%,macs=60%")
    for text in ("ddpg", "ppo"):
        found, _ = picture(text, feasible, tmp_path)
        assert found.sweep.budgets[found.sweep.own] == "size=60.00%, macs=60.00%"
        assert found.entries == ("channels kept",)
        assert all("macs=" in label for label in found.sweep.budgets)


def test_a_budget_above_the_dense_network_is_shown_alone_at_the_top(
    small_problem: Any, tmp_path: Path
) -> None:
    much = small_problem.costs["size"].reference * 3 // 2
    feasible = feasible_space(small_problem.under(f"size={much}"), JOINT)
    found, _ = picture("ppo", feasible, tmp_path)
    assert found.sweep.own == len(found.sweep.budgets) - 1
    assert found.sweep.budgets[-1] == "size=150.00%"


# ---- the critic


def acts_on(entry: int) -> Change:
    """Sets both critics to Q(s, a) = a[entry]: relu(a) - relu(-a), through two layers."""

    def change(model: Any) -> None:
        n = model.observation_space.shape[0]
        for critic in model.critic.q_networks:
            for p in critic.parameters():
                p.zero_()
            first, second, last = (m for m in critic if isinstance(m, nn.Linear))
            first.weight[0, n + entry], first.weight[1, n + entry] = 1, -1
            second.weight[0, 0] = second.weight[1, 1] = 1
            last.weight[0, 0], last.weight[0, 1] = 1, -1

    return change


@pytest.mark.parametrize("name", ["ddpg", "td3", "sac"])
def test_surfaces_are_what_the_critic_says(name: str, menu_of: Any, tmp_path: Path) -> None:
    for entry in (0, 1):
        found, _ = picture(name, menu_of(JOINT), tmp_path, acts_on(entry))
        for surface in found.surfaces:
            for y, row in zip(surface.ys, surface.values, strict=True):
                wanted = surface.xs if entry == 0 else (y,) * GRID
                assert row == pytest.approx(wanted, abs=2e-4)


def test_a_whole_plans_surface_moves_one_layer(menu_of: Any, tmp_path: Path) -> None:
    feasible = menu_of(JOINT)
    found, _ = picture("ddpg:env=whole-plan", feasible, tmp_path, acts_on(2 * 1 + 1))
    own = found.sweep.actions[found.sweep.own][1][1]
    for t, surface in enumerate(found.surfaces):
        for y, row in zip(surface.ys, surface.values, strict=True):
            wanted = y if t == 1 else own  # only at the second layer is its second entry moved
            assert row == pytest.approx((wanted,) * GRID, abs=2e-4)


def test_an_untrained_critic_is_asked_at_its_own_observations(menu_of: Any, tmp_path: Path) -> None:
    feasible = menu_of(JOINT)
    found, replay = picture("td3", feasible, tmp_path)
    proposal = propose(replay._model, feasible)
    for t, surface in enumerate(found.surfaces):
        for y, x in ((0, 0), (3, 11), (16, 16)):
            action = torch.tensor([[surface.xs[x], surface.ys[y]]])
            seen = torch.as_tensor(proposal.observations[t][None])
            with torch.no_grad():
                judged = min(float(q) for q in replay._model.critic(seen, action))
            assert surface.values[y][x] == pytest.approx(judged, abs=2e-4)


@pytest.mark.parametrize("space", [JOINT, f"{JOINT},discrete=true", COEFFICIENTS])
def test_ppo_values_the_state_behind_what_is_executed(
    space: str, menu_of: Any, tmp_path: Path
) -> None:
    """V = tanh(tanh(a)), a being the first entry of the action executed last."""
    feasible = menu_of(space)
    place = feature_names(feasible.vector.width).index("last 0")

    def change(model: Any) -> None:
        values = model.policy.mlp_extractor.value_net
        for p in (*values.parameters(), *model.policy.value_net.parameters()):
            p.zero_()
        values[0].weight[0, place] = values[2].weight[0, 0] = 1
        model.policy.value_net.weight[0, 0] = 1

    found, replay = picture("ppo", feasible, tmp_path, change)
    proposal = propose(replay._model, feasible)
    for t, surface in enumerate(found.surfaces):
        for y, row in zip(surface.ys, surface.values, strict=True):
            entries = [np.array([x, y])[: feasible.vector.width] for x in surface.xs]
            executed = [
                feasible.normalise(
                    feasible.actions.execute(proposal.indices[:t], feasible.action(e))[1]
                )[0]
                for e in entries
            ]
            assert row == pytest.approx([math.tanh(math.tanh(a)) for a in executed], abs=2e-4)
    if space == COEFFICIENTS:  # every action is executed as it is
        wanted = [math.tanh(math.tanh(x)) for x in found.surfaces[0].xs]
        assert found.surfaces[0].values[0] == pytest.approx(wanted, abs=2e-4)


# ---- features


@pytest.mark.parametrize("name", ["ddpg", "sac", "ppo"])
def test_a_feature_that_the_policy_does_not_read_has_no_influence(
    name: str, menu_of: Any, tmp_path: Path
) -> None:
    features = feature_names(2)
    blind = ("budget ratio", "log weights", "last 1")

    def first_layer(model: Any) -> nn.Linear:
        if name == "ppo":
            layer = model.policy.mlp_extractor.policy_net[0]
        else:
            layer = (model.actor.latent_pi if name == "sac" else model.actor.mu)[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def change(model: Any) -> None:
        first_layer(model).weight[:, [features.index(f) for f in blind]] = 0

    found, _ = picture(name, menu_of(JOINT), tmp_path, change)
    effects = {i.feature: i.effect for i in found.influences}
    assert set(effects) == set(features)
    assert all(effects[f] == 0 for f in blind)
    assert effects["grouping"] > 0  # one layer of the four is grouped
    assert effects["log stride"] > 0
    assert effects["is embedding"] == 0  # the same everywhere, so nothing can be said

    def only(model: Any) -> None:
        weight = first_layer(model).weight
        others = [i for i, f in enumerate(features) if f != "budget ratio"]
        weight[:, others] = 0

    found, _ = picture(name, menu_of(JOINT), tmp_path, only)
    assert found.influences[0].feature == "budget ratio"
    assert found.influences[0].effect > 0 == found.influences[1].effect


# ---- names, looks, determinism


def test_entries_are_named(menu_of: Any) -> None:
    assert menu_of(JOINT).space.entry_names == ("weights kept", "weight bits")
    assert menu_of(COEFFICIENTS).space.entry_names == ("care for the layer's loss",)


def test_spaces_without_axes_number_their_entries(small_problem: Any) -> None:
    axes = make_space(JOINT)

    class Plain(SearchSpace):
        action_space = axes.action_space
        choices, encode, decode = axes.choices, axes.encode, axes.decode

    feasible = FeasibleSpace.build(small_problem, Plain())
    assert feasible.space.entry_names == ("action 0", "action 1")


def test_looks_end_where_a_line_was_cut_off(tmp_path: Path) -> None:
    assert movement(tmp_path).evaluations == ()
    lines = [json.dumps({"evaluations": n, "actions": [[n / 10], [0.5]]}) for n in (2, 4, 6)]
    (tmp_path / LOOKS).write_text("\n".join(lines)[:-9])
    found = movement(tmp_path)
    assert found.evaluations == (2, 4)
    assert found.actions == (((0.2,), (0.5,)), ((0.4,), (0.5,)))


@pytest.mark.parametrize("name", ["sac", "ppo"])
def test_a_replay_is_repeatable_and_leaves_everything_alone(
    name: str, menu_of: Any, tmp_path: Path
) -> None:
    feasible = menu_of(JOINT)
    agent = untrained(name, feasible, tmp_path)
    data = (tmp_path / NETWORKS).read_bytes()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = (torch.rand(1), random.random(), np.random.rand())  # noqa: NPY002
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    known = dict(feasible.problem._memo)
    first = replayed(agent, feasible, tmp_path).picture(tmp_path)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected  # noqa: NPY002
    assert replayed(agent, feasible, tmp_path).picture(tmp_path) == first
    assert feasible.problem._memo == known  # nothing is evaluated
    assert (tmp_path / NETWORKS).read_bytes() == data
