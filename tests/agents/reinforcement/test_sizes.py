"""Widths and steps of what learns: what is asked for is what is built and made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from autocomp.agents import make_agent
from autocomp.agents.reinforcement.agent import ReinforcementAgent
from autocomp.agents.reinforcement.episodes import EpisodeLog, follow
from autocomp.agents.reinforcement.random_state import private_random_state
from autocomp.envs import LayerwiseEnv
from autocomp.search_spaces import feasible_space

from autocomp.errors import AgentError

SPACE = "bits:weight_bits=2/4/8"
NAMES = ("ddpg", "td3", "sac", "ppo")


def built(toy: Any, text: str, **options: int) -> tuple[ReinforcementAgent, Any, EpisodeLog]:
    agent: Any = make_agent(text, **options)
    feasible = feasible_space(toy, SPACE)
    log = EpisodeLog(LayerwiseEnv(feasible))
    with private_random_state():
        model = agent.build(log, feasible, 0)
        for indices in ([0, 0, 0, 0], feasible.allocation.plan):
            follow(log, feasible, list(indices))
    return agent, model, log


def weights(module: torch.nn.Module) -> list[Any]:
    return [p.detach().clone() for p in module.parameters()]


def moved(before: list[Any], module: torch.nn.Module) -> bool:
    pairs = zip(before, module.parameters(), strict=True)
    return not all(torch.equal(a, b.detach()) for a, b in pairs)


@pytest.mark.parametrize("width", [128, 5])
@pytest.mark.parametrize("name", NAMES)
def test_hidden_layers_are_as_wide_as_is_asked(name: str, width: int, toy: Any) -> None:
    options = {} if width == 128 else {"width": width}  # the default
    agent, model, _ = built(toy, name, **options)
    assert agent.width == width
    n = model.observation_space.shape[0]
    shapes = {tuple(p.shape) for p in model.policy.parameters() if p.dim() == 2}
    assert {(width, n), (width, width)} <= shapes
    assert {out for out, _ in shapes} == {width, 1}


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_that_are_asked_for(name: str, toy: Any) -> None:
    """None leave the networks as they are; the policy and the critic have each their own."""
    critic = {} if name == "ppo" else {"pretrain_steps": 0}
    for clone_steps in (0, 2):
        agent, model, log = built(toy, name, width=4, clone_steps=clone_steps, **critic)
        policy = model.policy if name == "ppo" else model.actor
        before = weights(policy)
        agent.prepare(model, log)
        assert moved(before, policy) == (clone_steps > 0)
    if name == "ppo":
        return
    for pretrain_steps in (0, 2):
        agent, model, log = built(toy, name, width=4, clone_steps=0, pretrain_steps=pretrain_steps)
        before = weights(model.critic)
        with private_random_state():
            model.set_logger(_silent())
            agent.prepare(model, log)
        assert moved(before, model.critic) == (pretrain_steps > 0)


@pytest.mark.parametrize(("updates", "steps"), [(0, 2 * 4), (3, 3)])
@pytest.mark.parametrize("name", NAMES[:3])
def test_updates_are_those_of_an_episode(name: str, updates: int, steps: int, toy: Any) -> None:
    _, model, _ = built(toy, name, width=4, updates=updates)
    assert model.gradient_steps == steps


def _silent() -> Any:
    from stable_baselines3.common.logger import Logger

    return Logger(folder=None, output_formats=[])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ddpg:width=0", "`1 <= width .* width=0"),
        ("ppo:width=-1", "`1 <= width .* width=-1"),
        ("ppo:clone_steps=-1", "`0 <= clone_steps .* clone_steps=-1"),
        ("sac:pretrain_steps=-1", "`0 <= pretrain_steps .* pretrain_steps=-1"),
        ("td3:updates=-1", "`0 <= updates .* updates=-1"),
        ("ppo:pretrain_steps=1", "pretrain_steps"),
    ],
)
def test_sizes_out_of_range_are_refused(text: str, words: str) -> None:
    with pytest.raises(AgentError, match=words) as caught:
        make_agent(text)
    assert "\n" not in str(caught.value)
