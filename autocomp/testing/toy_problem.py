"""A problem whose optimum is known: the accuracy is a closed form of the plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from autocomp.agents import SearchTask
from autocomp.allocation.pareto import Floats
from autocomp.allocation.separable import SeparableAllocation
from autocomp.core.budget import parse_budgets
from autocomp.core.choice import Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.problem.problem import CompressionProblem
from autocomp.search_spaces import FeasibleSpace, SearchSpace, feasible_space
from autocomp.testing.layers import layer_spec

SENSITIVITY = (8.0, 0.2, 2.0, 0.5)
WEIGHTS = (64, 256, 128, 256)
Menus = Sequence[Sequence[Choice]]


class ToyBytes:
    """weights * bits / 8, pruned weights free."""

    unit = "bytes"
    measured = False
    reference = sum(WEIGHTS) * 4

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the layer's bytes, rounded down."""
        return layer.nonzeros(choice) * choice.weights.bits // 8

    def fixed(self, side_bits: int) -> int:
        """Returns 0."""
        return 0


class ToyProblem:
    """Four linear layers of known sensitivities; every plan's accuracy is computed by hand.

    accuracy = 1 - sum_l s_l (4^-bits_l + sparsity_l^2 / 4), and the size is that of the weights
    that stay, so the best plan under a budget is found by trying all of them (`optimum`). The
    estimated losses are these if the problem is `informed`; else all layers are held to be as
    sensitive, and what is to be learned is that they are not.

    Args:
        budget: the budget, of size.
        informed: whether the estimated losses are the true ones.

    Attributes:
        evaluated: every plan that was evaluated, in order.
    """

    def __init__(self, budget: str = "size=12%", informed: bool = False) -> None:
        self.informed = informed
        layers = tuple(
            layer_spec(f"l{i}", (n // 8, 8), kind="linear", macs=n) for i, n in enumerate(WEIGHTS)
        )
        self.network = Network(layers, (), (), (), (), (), sum(WEIGHTS))
        self.budgets = parse_budgets(budget)
        self.costs = {"size": ToyBytes()}
        self.limits = {"size": self.budgets[0].absolute(ToyBytes.reference)}
        self.evaluated: list[Plan] = []

    def task(
        self, space: str | SearchSpace, n_evaluations: int, seed: int = 0, **more: Any
    ) -> SearchTask:
        """Returns the task of searching a space for this problem, see `SearchTask.of`."""
        problem = cast(CompressionProblem, self)
        return SearchTask.of(problem, space, n_evaluations, seed, **more)

    def feasible(self, space: str | SearchSpace) -> FeasibleSpace:
        """Returns a space under this problem's budget."""
        return feasible_space(cast(CompressionProblem, self), space)

    @staticmethod
    def error(layer: LayerSpec, choice: Choice) -> float:
        """Returns what a choice does to a layer of sensitivity 1."""
        return 4.0**-choice.weights.bits + choice.weights.sparsity**2 / 4

    def loss(self, plan: Plan) -> float:
        """Returns what the plan takes from the accuracy."""
        return sum(
            s * self.error(layer, plan[layer.name])
            for s, layer in zip(SENSITIVITY, self.network.layers, strict=True)
        )

    def losses(self, menus: Menus) -> list[Floats]:
        """Returns the estimated losses of each layer's choices."""
        weights = SENSITIVITY if self.informed else (1.0,) * len(SENSITIVITY)
        return [
            np.array([s * self.error(layer, c) for c in menu])
            for s, layer, menu in zip(weights, self.network.layers, menus, strict=True)
        ]

    def cost(self, plan: Plan) -> int:
        """Returns the plan's bytes."""
        return sum(ToyBytes().of_layer(x, plan[x.name]) for x in self.network.layers)

    def evaluate(self, plan: Plan, fidelity: Fidelity | str = Fidelity.SCREEN) -> Outcome:
        """Returns the plan's outcome."""
        self.evaluated.append(plan)
        loss, cost = self.loss(plan), self.cost(plan)
        return Outcome(plan, 1 - loss, loss, 10**9, {"size": cost}, cost <= self.limits["size"],
                       Fidelity.of(fidelity), 0.0, divergence=loss)  # fmt: skip

    def dense_score(self, fidelity: Fidelity | str = Fidelity.SCREEN) -> Score:
        """Returns a score without errors."""
        return Score(1.0, 0.0, 10**9)

    def layers(self, structural: bool = False) -> tuple[LayerSpec, ...]:
        """Returns the layers."""
        return self.network.layers

    def allocation(
        self,
        menus: Menus,
        structural: bool = False,
        losses: Callable[[], list[Floats]] | None = None,
    ) -> SeparableAllocation:
        """Returns what fits the budget, and what is best by the estimated losses."""
        costs = [
            np.array([[ToyBytes().of_layer(layer, c)] for c in menu], np.int64)
            for layer, menu in zip(self.network.layers, menus, strict=True)
        ]
        limits = np.array([self.limits["size"]], np.int64)
        return SeparableAllocation(costs, limits, losses or (lambda: self.losses(menus)), 0.9)

    def optimum(self, space: str | SearchSpace) -> float:
        """Returns the best accuracy of any feasible plan, by trying all of them."""
        feasible = self.feasible(space)
        plans = np.array(list(itertools.product(*(range(len(menu)) for menu in feasible.choices))))
        costs = np.zeros(len(plans), np.int64)
        lost = np.zeros(len(plans))
        for t, (layer, menu) in enumerate(zip(feasible.layers, feasible.choices, strict=True)):
            taken = plans[:, t]
            costs += np.array([ToyBytes().of_layer(layer, c) for c in menu])[taken]
            lost += np.array([SENSITIVITY[t] * self.error(layer, c) for c in menu])[taken]
        return float(1 - lost[costs <= self.limits["size"]].min())
