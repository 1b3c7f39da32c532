"""The contract of a reward."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterator
from dataclasses import replace

import gymnasium
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autocomp.envs import ENVS, Result, Reward, Step, find_reward
from autocomp.testing.toy_problem import ToyProblem

SHARE = st.floats(0, 1)
NATS = st.floats(0, 50)
RESULTS = st.builds(
    Result, accuracy=SHARE, loss=NATS, dense_accuracy=SHARE, cost=st.floats(0, 1e12),
    merit=st.floats(-50, 1),
)  # fmt: skip
STEPS = st.builds(Step, loss=NATS, loss_so_far=NATS, result=st.none() | RESULTS)


class RewardContract:
    """What every reward promises; subclass it and define `make`.

    A reward is a function of a `Step`, and of nothing else: it is called once a layer, front to
    back, with `result` None, and at the last layer with the evaluated plan; the environment that
    decides the whole network at once calls it once. It gives a finite number for every step that
    can be, the same number for the same step, and does not change the step.

    Attributes:
        prefers_better: whether a plan that is better in everything (more accurate, of less loss, no
            dearer) is never worth less, other things being equal. True by default.
    """

    prefers_better = True

    def make(self) -> Reward:
        """Returns the reward."""
        raise NotImplementedError

    def test_it_is_a_reward(self) -> None:
        """A function."""
        reward = self.make()
        assert find_reward(reward) is reward

    @settings(
        deadline=None, derandomize=True, max_examples=60,
        suppress_health_check=[
            HealthCheck.differing_executors, HealthCheck.function_scoped_fixture
        ],
    )  # fmt: skip
    @given(step=STEPS)
    def test_it_is_a_finite_number_and_the_same_each_time(self, step: Step) -> None:
        """For every step that can be."""
        reward = self.make()
        first = reward(step)
        assert isinstance(first, numbers.Real), "a reward must be a number"
        assert math.isfinite(first), "a reward must be finite"
        assert reward(step) == first == self.make()(step)

    @pytest.mark.parametrize("result", [False, True], ids=["on the way", "at the end"])
    def test_the_corners(self, result: bool) -> None:
        """Nothing lost, everything lost; nothing spent, everything spent."""
        reward = self.make()
        for loss, so_far in itertools.product((0.0, 1e-9, 50.0), repeat=2):
            for end in _results() if result else (None,):
                assert math.isfinite(reward(Step(loss, so_far, end)))

    def test_a_better_result_is_never_worth_less(self) -> None:
        """Better in everything at once, along a ladder of results."""
        if not self.prefers_better:
            pytest.skip("prefers_better is False")
        worst = Result(accuracy=0.1, loss=3.0, dense_accuracy=0.9, cost=9000.0, merit=-2.0)
        ladder = [
            replace(
                worst,
                accuracy=0.1 + 0.2 * i,
                loss=3.0 - 0.7 * i,
                cost=9000.0 - 500 * i,
                merit=-2.0 + 0.7 * i,
            )
            for i in range(5)
        ]
        reward = self.make()
        values = [reward(Step(0.1, 0.4, result)) for result in ladder]
        assert values == sorted(values)

    @pytest.mark.parametrize("env", list(ENVS))
    def test_the_environments_hear_it(self, env: str) -> None:
        """An episode on the toy problem in each of them."""
        feasible = ToyProblem().feasible("bits:weight_bits=2/3/4/6/8")
        made = gymnasium.make(
            ENVS[env], problem=feasible, reward=self.make(), disable_env_checker=True
        )
        made.reset(seed=0)
        made.action_space.seed(0)
        done, heard = False, []
        while not done:
            _, reward, done, _, _ = made.step(made.action_space.sample())
            heard.append(float(reward))
        assert len(heard) == (len(feasible) if env == "layerwise" else 1)
        assert all(math.isfinite(value) for value in heard)


def _results() -> Iterator[Result]:
    for accuracy, loss, cost in itertools.product((0.0, 1.0), (0.0, 50.0), (0.0, 1.0, 1e12)):
        yield Result(accuracy, loss, 0.9, cost, accuracy - loss)
