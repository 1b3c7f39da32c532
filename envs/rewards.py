"""Rewards as pure functions of what a step of the layer-by-layer environment knows.

To add one, write a function `Step -> float` and register it in `REWARDS`, or under the entry-point
group `autocomp.rewards` of another package.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autocomp.errors import AgentError
from autocomp.plugins.imports import import_attribute, is_import_spec
from autocomp.plugins.registry import find, names


@dataclass(frozen=True)
class Result:
    """The end of an episode.

    Attributes:
        accuracy: of the compressed network, in [0, 1]; for other tasks than classification the
            quality as a number that is larger for better networks (`Outcome.utility`).
        loss: the task's loss; for classifications the cross-entropy in nats.
        dense_accuracy: the same of the dense network.
        cost: the first budget's cost of the plan, in its unit.
        merit: minus the gap from the dense outputs (`Outcome.merit`).
    """

    accuracy: float
    loss: float
    dense_accuracy: float
    cost: float
    merit: float


@dataclass(frozen=True)
class Step:
    """What a reward may look at.

    Attributes:
        loss: what the executed choice is estimated to add to the divergence of the network's
            outputs (F0, `FeasibleSpace.losses`), in nats.
        loss_so_far: the same, summed over the layers up to this one.
        result: the evaluated plan at the last layer, None before.
    """

    loss: float
    loss_so_far: float
    result: Result | None


Reward = Callable[[Step], float]


def merit(step: Step) -> float:
    """What plans are ranked by, at the end; 0 before."""
    return step.result.merit if step.result else 0.0


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
    """Each layer's own estimated loss as it is made; an episode sums to the merit.

    Potential-based shaping (Ng et al. 1999) with the potential -sum of losses so far, and 0 at the
    end: r_t = -loss_t, and the last step gives all of them back, r_T = -loss_T + sum_t loss_t +
    merit. So the best plan stays the best (compare Gupta et al. 2020, whose reward is dense,
    too, but changes the optimum).
    """
    if step.result is None:
        return -step.loss
    return -step.loss + step.loss_so_far + step.result.merit


REWARDS: dict[str, Reward] = {
    "merit": merit,
    "accuracy": accuracy,
    "loss": loss,
    "amc": amc,
    "haq": haq,
    "dense": dense,
}


GROUP = "autocomp.rewards"


def find_reward(reward: str | Reward) -> Reward:
    """Returns the reward that a text names, or the function itself.

    Args:
        reward: a name of `REWARDS` or of the entry-point group `autocomp.rewards`, an import path
            `package.module:function`, or a function of a `Step`.

    Raises:
        UnknownNameError: if nothing has that name; the nearest one is suggested.
        AgentError: if it is no function.
    """
    if not isinstance(reward, str):
        found: Any = reward
    elif reward not in names(REWARDS, GROUP) and is_import_spec(reward):
        found = import_attribute(reward, AgentError)
    else:
        found = find("reward", reward, REWARDS, GROUP)
    if not callable(found):
        raise AgentError(
            f"A reward must be a function of a Step, but {reward!r:.60} is "
            f"{type(found).__name__}; name a function."
        )
    function: Reward = found
    return function


def heard(reward: Reward, step: Step) -> float:
    """Returns what a reward gives for a step.

    Raises:
        AgentError: if that is no finite number, from which nothing can be learned.
    """
    value: Any = reward(step)
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        name = getattr(reward, "__name__", type(reward).__name__)
        raise AgentError(
            f"A reward must be a finite number for every Step, but {name} gave {value!r:.60}; "
            "return 0.0 where there is nothing to say."
        )
    return float(value)
