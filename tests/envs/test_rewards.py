"""Rewards, by hand."""

from __future__ import annotations

import math

import pytest
from autocomp.envs import REWARDS, Result, Reward, Step, find_reward

from autocomp.errors import UnknownNameError
from autocomp.testing import RewardContract

END = Step(0.1, 0.5, Result(accuracy=0.8, loss=0.7, dense_accuracy=0.9, cost=1000.0, merit=0.6))
MIDDLE = Step(0.1, 0.3, None)


@pytest.mark.parametrize(
    ("name", "middle", "end"),
    [
        ("merit", 0.0, 0.6),
        ("accuracy", 0.0, 0.8),
        ("loss", 0.0, -0.7),
        ("amc", 0.0, -0.2 * math.log(1000)),
        ("haq", 0.0, -1.0),
        ("dense", -0.1, -0.1 + 0.5 + 0.6),
    ],
)
def test_closed_form(name: str, middle: float, end: float) -> None:
    assert REWARDS[name](MIDDLE) == pytest.approx(middle)
    assert REWARDS[name](END) == pytest.approx(end)


@pytest.mark.parametrize("name", REWARDS)
class TestBuiltIn(RewardContract):
    @pytest.fixture(autouse=True)
    def _choose(self, name: str) -> None:
        self.name = name

    def make(self) -> Reward:
        return REWARDS[self.name]


def test_dense_sums_to_the_merit() -> None:
    losses = [0.2, 0.05, 0.4]
    steps = [
        Step(x, sum(losses[: i + 1]), END.result if i == 2 else None) for i, x in enumerate(losses)
    ]
    assert sum(map(REWARDS["dense"], steps)) == pytest.approx(0.6)


def test_every_reward_is_tested() -> None:
    assert set(REWARDS) == {"merit", "accuracy", "loss", "amc", "haq", "dense"}


def test_names_and_functions() -> None:
    assert find_reward("amc") is REWARDS["amc"]
    assert find_reward(len) is len  # type: ignore[arg-type, comparison-overlap]
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        find_reward("acuracy")
