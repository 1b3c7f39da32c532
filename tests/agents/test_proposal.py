"""What a policy would do is what the environment does with it; nothing is evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autocomp.agents.reinforcement.proposal import propose
from autocomp.envs import LayerwiseEnv, WholePlanEnv, make_menu
from gymnasium import spaces
from numpy.typing import NDArray

SPACES = [
    "bits:weight_bits=2/3/4/6/8",
    "joint:levels=5,weight_bits=2/4/8",
    "joint:levels=5,weight_bits=2/4/8,discrete=true",
    "coefficients:menu=bits,weight_bits=2/3/4/6/8",
    "coefficients:menu=bits,weight_bits=2/3/4/6/8,discrete=true",
]


class Fixed:
    """A policy that is a fixed function of what it sees."""

    def __init__(self, space: spaces.Space[Any], seed: int) -> None:
        self.space, self.seed = space, seed
        self.seen: list[NDArray[np.float32]] = []

    def predict(self, observation: Any, deterministic: bool = False) -> tuple[Any, None]:
        assert deterministic
        self.seen.append(observation)
        rng = np.random.default_rng([self.seed, *observation.view(np.uint32).tolist()])
        if isinstance(self.space, spaces.Box):
            return rng.uniform(-1, 1, self.space.shape).astype(np.float32), None
        assert isinstance(self.space, spaces.MultiDiscrete)
        return rng.integers(self.space.nvec), None


def played(env: Any, policy: Fixed) -> tuple[Any, list[Any], list[Any]]:
    """Plays an episode; returns the plan, the executed actions and the observations."""
    observation, _ = env.reset()
    executed, seen, done = [], [], False
    while not done:
        seen.append(observation)
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, done, _, info = env.step(action)
        executed.append(info["executed_action"])
    return info["plan"], executed, seen


@pytest.mark.parametrize("env", ["layerwise", "whole-plan"])
@pytest.mark.parametrize("space", SPACES)
def test_a_proposal_is_what_the_environment_executes(space: str, env: str, toy: Any) -> None:
    menu = make_menu(toy, space)
    kind: Any = LayerwiseEnv if env == "layerwise" else WholePlanEnv
    plans = set()
    for seed in range(5):
        made = kind(menu)
        policy = Fixed(made.action_space, seed)
        before = len(toy.evaluated)
        found = propose(policy, menu, env)
        assert len(toy.evaluated) == before
        asked = list(policy.seen)
        plan, executed, seen = played(made, policy)
        assert menu.plan(menu.settle(found.indices)) == plan
        rows = executed if env == "layerwise" else list(menu.vector.split(executed[0]))
        assert found.actions.shape == (len(menu), menu.vector.width)
        assert (found.actions == [menu.normalise(row) for row in rows]).all()
        assert (found.observations == seen).all() and (found.observations == asked).all()
        plans.add(plan)
    assert len(plans) > 1


def test_a_coupled_proposal_is_settled_afterwards(tiny_problem: Any) -> None:
    menu = make_menu(tiny_problem.under("macs=50%,size=50%"), "structured:levels=5")
    for seed in range(3):
        policy = Fixed(menu.space.action_space, seed)
        found = propose(policy, menu)
        assert not menu.problem._memo
        assert menu.plan(menu.settle(found.indices)) == played(LayerwiseEnv(menu), policy)[0]
        menu.problem._memo.clear()
