"""Rewards as pure functions of what a step of the layer-by-layer environment knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autocomp.errors import AgentError
from autocomp.registry import unknown


@dataclass(frozen=True)
class Result:
    """The end of an episode.

    Attributes:
        accuracy: of the compressed network, in [0, 1].
        loss: its cross-entropy in nats.
        dense_accuracy: of the dense network.
        cost: the first budget's cost of the plan, in its unit.
    """

    accuracy: float
    loss: float
    dense_accuracy: float
    cost: float


@dataclass(frozen=True)
class Step:
    """What a reward may look at.

    Attributes:
        error: the layer's relative squared weight error, divided by the number of layers.
        error_so_far: the same, summed over the layers up to this one.
        result: the evaluated plan at the last layer, None before.
    """

    error: float
    error_so_far: float
    result: Result | None


Reward = Callable[[Step], float]


def accuracy(step: Step) -> float:
    """Accuracy at the end, 0 before."""
    return step.result.accuracy if step.result else 0.0


def loss(step: Step) -> float:
    """Negative cross-entropy at the end, 0 before; informative where accuracy is at chance."""
    return -step.result.loss if step.result else 0.0


def amc(step: Step) -> float:
    """AMC's accuracy-guaranteed reward: -error * log(cost) (He et al. 2018, arXiv:1802.03494)."""
    if step.result is None:
        return 0.0
    return -(1 - step.result.accuracy) * math.log(max(step.result.cost, 2.0))


def haq(step: Step) -> float:
    """HAQ's reward: 0.1 * (accuracy - dense accuracy), in percentage points (arXiv:1811.08886)."""
    if step.result is None:
        return 0.0
    return 0.1 * 100 * (step.result.accuracy - step.result.dense_accuracy)


def dense(step: Step) -> float:
    """Each layer's own error as it is made; an episode sums to the accuracy.

    Potential-based shaping (Ng et al. 1999) with the potential -sum of errors: the penalties of
    the layers are given back at the end, so that the best plan stays the best (compare Gupta et
    al. 2020).
    """
    if step.result is None:
        return -step.error
    return -step.error + step.error_so_far + step.result.accuracy


REWARDS: dict[str, Reward] = {
    "accuracy": accuracy,
    "loss": loss,
    "amc": amc,
    "haq": haq,
    "dense": dense,
}


def find_reward(reward: str | Reward) -> Reward:
    """Returns the reward of that name, or the function itself; AgentError for an unknown name."""
    if callable(reward):
        return reward
    if reward not in REWARDS:
        raise AgentError(unknown("reward", reward, REWARDS))
    return REWARDS[reward]
