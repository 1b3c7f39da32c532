"""A problem whose optimum is known: the accuracy is a closed form of the plan."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autocomp.allocation.separable import SeparableAllocation
from autocomp.core.budget import parse_budgets
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.tasks.classification import Score

SENSITIVITY = (8.0, 0.2, 2.0, 0.5)
WEIGHTS = (64, 256, 128, 256)


def spec(index: int) -> LayerSpec:
    return LayerSpec(
        name=f"l{index}", parameter=f"l{index}.weight", kind="linear",
        shape=(WEIGHTS[index] // 8, 8), out_axis=0, in_axis=1, groups=1, stride=1,
        macs=WEIGHTS[index], calls=1, quantizable_input=True, bias=False,
    )  # fmt: skip


class Bytes:
    """weights * bits / 8, pruned weights free."""

    unit = "bytes"
    reference = sum(WEIGHTS) * 4

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        return layer.nonzeros(choice) * choice.weights.bits // 8

    def fixed(self, side_bits: int) -> int:
        return 0


class ToyProblem:
    """accuracy = 1 - sum_l s_l (4^-bits + sparsity^2 / 4): separable, so its optimum is exact.

    The estimated losses are these if it is `informed`; else all layers are held to be as sensitive,
    and what is learned is that they are not.
    """

    def __init__(self, budget: str, informed: bool = False) -> None:
        self.informed = informed
        layers = tuple(spec(i) for i in range(len(WEIGHTS)))
        self.network = Network(layers, (), (), (), (), (), sum(WEIGHTS))
        self.budgets = parse_budgets(budget)
        self.costs = {"size": Bytes()}
        self.limits = {"size": self.budgets[0].absolute(Bytes.reference)}
        self.evaluated: list[Plan] = []

    @staticmethod
    def error(layer: LayerSpec, choice: Choice) -> float:
        return 4.0**-choice.weights.bits + choice.weights.sparsity**2 / 4

    def loss(self, plan: Plan) -> float:
        return sum(
            s * self.error(layer, plan[layer.name])
            for s, layer in zip(SENSITIVITY, self.network.layers, strict=True)
        )

    def losses(self, menus: Sequence[Sequence[Choice]]) -> list[Any]:
        weights = SENSITIVITY if self.informed else (1.0,) * len(SENSITIVITY)
        return [
            np.array([s * self.error(layer, c) for c in menu])
            for s, layer, menu in zip(weights, self.network.layers, menus, strict=True)
        ]

    def cost(self, plan: Plan) -> int:
        return sum(Bytes().of_layer(x, plan[x.name]) for x in self.network.layers)

    def evaluate(self, plan: Plan, fidelity: str = "F1") -> Outcome:
        self.evaluated.append(plan)
        loss, cost = self.loss(plan), self.cost(plan)
        return Outcome(plan, 1 - loss, loss, 10**9, {"size": cost}, cost <= self.limits["size"],
                       fidelity, 0.0)  # fmt: skip

    def dense_score(self, fidelity: str = "F1") -> Score:
        return Score(1.0, 0.0, 10**9)

    def layers(self, structural: bool = False) -> tuple[LayerSpec, ...]:
        return self.network.layers

    def allocation(self, menus: Any, structural: bool = False, losses: Any = None) -> Any:
        costs = [
            np.array([[Bytes().of_layer(layer, c)] for c in menu], np.int64)
            for layer, menu in zip(self.network.layers, menus, strict=True)
        ]
        limits = np.array([self.limits["size"]], np.int64)
        return SeparableAllocation(costs, limits, losses or (lambda: self.losses(menus)), 0.9)

    def optimum(self, space: Any) -> float:
        """The best accuracy of any feasible plan, by trying all of them."""
        layers = self.network.layers
        best = -np.inf
        for choices in itertools.product(*(space.choices(layer) for layer in layers)):
            plan = Plan({x.name: c for x, c in zip(layers, choices, strict=True)})
            if self.cost(plan) <= self.limits["size"]:
                best = max(best, 1 - self.loss(plan))
        return float(best)


@pytest.fixture
def toy() -> Any:
    """A toy problem at 12 % of its size."""
    return ToyProblem("size=12%")


@pytest.fixture
def make_toy() -> Any:
    """Builds toy problems at other budgets."""
    return ToyProblem
