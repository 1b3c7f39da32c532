"""What a policy would do is what the environment does with it; nothing is evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autocomp.agents.policy import propose
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.search_spaces import feasible_space
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
        if isinstance(self.space, spaces.Discrete):
            return rng.integers(self.space.n), None
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
    feasible = feasible_space(toy, space)
    kind: Any = LayerwiseEnv if env == "layerwise" else WholePlanEnv
    plans = set()
    for seed in range(5):
        made = kind(feasible)
        policy = Fixed(made.action_space, seed)
        before = len(toy.evaluated)
        found = propose(policy, feasible, env)
        assert len(toy.evaluated) == before
        asked = list(policy.seen)
        plan, executed, seen = played(made, policy)
        assert feasible.plan(feasible.allocation.settle(found.indices)) == plan
        rows = executed if env == "layerwise" else list(feasible.vector.split(executed[0]))
        assert found.actions.shape == (len(feasible), feasible.vector.width)
        assert (found.actions == [feasible.normalise(row) for row in rows]).all()
        assert (found.observations == seen).all() and (found.observations == asked).all()
        plans.add(plan)
    assert len(plans) > 1


def test_a_coupled_proposal_is_settled_afterwards(tiny_problem: Any) -> None:
    feasible = feasible_space(tiny_problem.under("macs=50%,size=50%"), "structured:levels=5")
    for seed in range(3):
        policy = Fixed(feasible.space.action_space, seed)
        found = propose(policy, feasible)
        assert not feasible.problem._memo
        assert (
            feasible.plan(feasible.allocation.settle(found.indices))
            == played(LayerwiseEnv(feasible), policy)[0]
        )
        feasible.problem._memo.clear()
