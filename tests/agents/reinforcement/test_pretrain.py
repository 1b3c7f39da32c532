"""Training one policy over several problems: what is shown, and what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from autocomp.agents import make_agent
from autocomp.agents.policy import propose
from autocomp.agents.reinforcement.episodes import EpisodeLog
from autocomp.agents.reinforcement.pretrain import pretrain, shrink_actions
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.agents.task import PolicyTask
from autocomp.envs import LayerwiseEnv, MultiTaskEnv
from autocomp.search_spaces import FeasibleSpace, feasible_space
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from autocomp.errors import AgentError

BITS = "bits:weight_bits=2/3/4/6/8"
JOINT = "joint:levels=6,weight_bits=2/3/4/6/8"
BUDGETS = ("size=16%", "size=13%", "size=10%")


def menus(
    make_toy: Any, space: str = BITS, budgets: tuple[str, ...] = BUDGETS
) -> list[FeasibleSpace]:
    return [feasible_space(make_toy(budget, informed=True), space) for budget in budgets]


def schooled(
    text: str,
    found: list[FeasibleSpace],
    n: int,
    seed: int = 0,
    level: str = "F0",
    small: bool = True,
) -> tuple[Any, list[tuple[int, int, float]]]:
    told: list[tuple[int, int, float]] = []
    sizes: dict[str, int] = {"width": 16, "clone_steps": 40} if small else {}
    agent: Any = make_agent(text, **sizes)
    task = PolicyTask(
        found, n_episodes=n, level=level, seed=seed,
        on_episode=lambda *episode: told.append(episode),
    )  # fmt: skip
    model = pretrain(agent, MultiTaskEnv(found, level), task)
    return model, told


def test_a_fixed_list_of_menus_passes_the_checkers(make_toy: Any) -> None:
    env = MultiTaskEnv(menus(make_toy), "F1")
    gymnasium_check(env, skip_render_check=True)
    sb3_check(env, warn=True, skip_render_check=True)


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_every_episode_is_told_in_order(text: str, make_toy: Any) -> None:
    found = menus(make_toy)
    _, told = schooled(text, found, 20)
    assert [number for number, _, _ in told] == list(range(20))
    # the solver's own plan of each lesson is shown first, then those around it
    assert [lesson for _, lesson, _ in told[:9]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [value for _, _, value in told[:9:3]] == [0, 0, 0]
    assert all(-3 <= value <= 0 for _, _, value in told)
    assert {lesson for _, lesson, _ in told[9:]} == {0, 1, 2}


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_the_same_seed_gives_the_same_training(text: str, make_toy: Any) -> None:
    def made(seed: int) -> tuple[Any, Any]:
        torch.rand(3)  # what else ran in the process must not matter
        np.random.rand(3)  # noqa: NPY002
        model, told = schooled(text, menus(make_toy), 14, seed)
        return told, {k: v.tolist() for k, v in model.policy.state_dict().items()}

    first = made(1)
    assert made(1) == first
    assert made(2) != first


def test_training_leaves_the_global_generators_alone(make_toy: Any) -> None:
    found = menus(make_toy)
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    expected = (float(torch.rand(1)), np.random.rand())  # noqa: NPY002
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    schooled("ppo", found, 6)
    assert (float(torch.rand(1)), np.random.rand()) == expected  # noqa: NPY002


def loss_at(model: Any, feasible: FeasibleSpace) -> float:
    """How far a policy's plan at a menu's budget lies above the solver's, as a share of it."""
    plans = np.array([propose(model, feasible).indices, feasible.allocation.plan])
    own, best = feasible.estimate(plans)
    return float(own / best - 1)


@pytest.mark.parametrize("text", ["ddpg", "ppo"])
def test_it_does_well_at_a_budget_that_it_never_saw(text: str, make_toy: Any) -> None:
    """Without multipliers, so that an ignorant policy is far from the solver."""
    model, _ = schooled(text, menus(make_toy, JOINT), 30, small=False)
    agent: Any = make_agent(text)
    for budget in ("size=15%", "size=11.5%"):
        feasible = feasible_space(make_toy(budget, informed=True), JOINT)
        losses = []
        for seed in range(5):
            with private_random_state():
                ignorant = agent.build(EpisodeLog(LayerwiseEnv(feasible)), feasible, seed)
            losses.append(loss_at(ignorant, feasible))
        assert loss_at(model, feasible) < 0.5 * min(losses)


def test_few_episodes_still_show_every_lesson(make_toy: Any) -> None:
    for n in (3, 4, 5):
        _, told = schooled("ppo", menus(make_toy), n)
        assert len(told) == n
        assert {lesson for _, lesson, _ in told} == {0, 1, 2}
        shown = [value for _, _, value in told]
        assert shown.count(0) >= 3


@pytest.mark.parametrize(
    ("text", "space", "n", "words"),
    [
        ("ppo:env=whole-plan", BITS, 10, "acts layer by layer, but got env=whole-plan"),
        ("ddpg", BITS, 2, "each of the 3 tasks, but got 2"),
        ("ddpg", f"{BITS},discrete=true", 10, "needs a continuous space"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    text: str, space: str, n: int, words: str, make_toy: Any
) -> None:
    with pytest.raises(AgentError, match=words) as caught:
        schooled(text, menus(make_toy, space), n)
    assert "\n" not in str(caught.value)


COEFFICIENTS = f"coefficients:menu={BITS.replace(':', ',')}"


def biased(text: str, feasible: FeasibleSpace, entry: float) -> Any:
    """An untrained policy whose action is `entry` everywhere, but for the last layer's noise."""
    agent: Any = make_agent(text)
    with private_random_state():
        model: Any = agent.build(EpisodeLog(LayerwiseEnv(feasible)), feasible, 0)
    head = model.policy.action_net if hasattr(model.policy, "action_net") else model.actor.mu
    last = [m for m in head.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(entry if text == "ppo" else float(np.arctanh(entry)))
    return model


@pytest.mark.parametrize("text", ["ddpg", "sac", "ppo"])
def test_a_policy_that_only_harms_is_made_neutral(text: str, make_toy: Any) -> None:
    """Estimates are right here, so every multiplier that differs between layers harms."""
    found = menus(make_toy, COEFFICIENTS)
    model = biased(text, found[0], 0.0)
    rng = np.random.default_rng(0)
    head = model.policy.action_net if text == "ppo" else model.actor.mu
    last = [m for m in head.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.copy_(torch.as_tensor(rng.normal(0, 3, last.weight.shape)).float())
    tasks = MultiTaskEnv(found, "F0")
    harmed = [lesson.judged(propose(model, lesson.feasible).indices, {}).merit
              for lesson in tasks.tasks]  # fmt: skip
    assert min(harmed) < 0
    share = shrink_actions(model, tasks)
    assert share < 1
    after = [lesson.judged(propose(model, lesson.feasible).indices, {}).merit
             for lesson in tasks.tasks]  # fmt: skip
    assert np.mean(after) >= np.mean(harmed) and np.mean(after) == pytest.approx(0, abs=1e-9)


def test_a_policy_that_does_no_harm_is_left(make_toy: Any) -> None:
    """Neutral multipliers stay neutral at any share; of equal ones the largest is taken."""
    found = menus(make_toy, COEFFICIENTS)
    model = biased("ddpg", found[0], 0.0)
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    with torch.no_grad():  # exactly the same everywhere
        model.actor.mu[-2].weight.zero_()
        before["actor.mu.4.weight"] = torch.zeros_like(before["actor.mu.4.weight"])
    assert shrink_actions(model, MultiTaskEnv(found, "F0")) == 1
    for name, value in model.policy.state_dict().items():
        if name.startswith("actor."):
            assert torch.equal(value, before[name])


def test_a_discrete_policy_is_not_scaled(make_toy: Any) -> None:
    found = menus(make_toy, f"{BITS},discrete=true")
    agent: Any = make_agent("ppo")
    with private_random_state():
        model: Any = agent.build(EpisodeLog(LayerwiseEnv(found[0])), found[0], 0)
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    assert shrink_actions(model, MultiTaskEnv(found, "F0")) == 1
    assert all(torch.equal(v, before[k]) for k, v in model.policy.state_dict().items())
