"""What an agent sees of a layer and of the budget: size-free numbers in [-1, 1].

| index          | feature                                                        | range    |
|----------------|----------------------------------------------------------------|----------|
| 0              | position: layer index over the number of layers                | [0, 1)   |
| 1..5           | kind: conv, transposed, linear, embedding, attention           | {0, 1}   |
| 6              | depthwise or grouped: 1 - 1/groups                             | [0, 1)   |
| 7, 8           | log2 of inputs and of outputs over 16                          | [0, 1]   |
| 9              | log2 of kernel positions over 8                                | [0, 1]   |
| 10             | log2 of the stride over 3                                      | [0, 1]   |
| 11, 12         | share of the network's weights, of its MACs                    | [0, 1]   |
| 13             | log10 of the number of weights over 9                          | [0, 1]   |
| 14             | the tightest budget as a share of the dense network            | [0, 1]   |
| 15             | share spent, of the budget that is spent most                  | [0, 1]   |
| 16             | cheapest completion over what is left, in the tightest budget  | [0, 1]   |
| 17             | what is left over the dearest completion, likewise             | [0, 1]   |
| 18             | share of the layer's choices that are feasible                 | [0, 1]   |
| 19..23         | error curve: log10 of the estimated loss (F0, nats) at five    | [0, 1]   |
|                | menu points, most compressed first; 1e-6 .. 10 becomes 0 .. 1  |          |
| then width     | least feasible action entry, per entry                         | [-1, 1]  |
| then width     | largest feasible action entry, per entry                       | [-1, 1]  |
| then width     | the action executed at the layer before (0 at the first)       | [-1, 1]  |
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from autocomp.search_spaces.feasible_space import FeasibleSpace
from numpy.typing import NDArray

from autocomp.allocation.allocation import Mask
from autocomp.allocation.pareto import Floats
from autocomp.core.layer_spec import LayerSpec

KINDS = ("conv", "transposed", "linear", "embedding", "attention")
CURVE = 5
FEATURES = (
    "position",
    *(f"is {kind}" for kind in KINDS),
    "grouping",
    "log inputs",
    "log outputs",
    "log kernel",
    "log stride",
    "share of weights",
    "share of MACs",
    "log weights",
    "budget ratio",
    "budget spent",
    "cheapest completion",
    "room above dearest",
    "feasible share",
    *(f"error at {i}/{CURVE - 1}" for i in range(CURVE)),
)


def feature_names(width: int) -> tuple[str, ...]:
    """Returns the name of each observation entry for actions of `width` entries."""
    tail = [f"{what} {i}" for what in ("low", "high", "last") for i in range(width)]
    return (*FEATURES, *tail)


class Observer:
    """Builds observations; everything that never changes is computed once."""

    def __init__(self, feasible: FeasibleSpace) -> None:
        self._feasible = feasible
        network, problem = feasible.problem.network, feasible.problem
        weights = sum(layer.n_weights for layer in network.layers)
        macs = max(1, network.macs)
        ratios = [
            problem.limits[b.cost] / max(1, problem.costs[b.cost].reference)
            for b in problem.budgets
        ]
        self._ratio = min(1.0, min(ratios))
        self._static = [
            self._layer_features(step, layer, weights, macs)
            for step, layer in enumerate(feasible.layers)
        ]
        self._curves = [self._curve(step) for step in range(len(feasible))]

    def observe(self, prefix: Sequence[int], mask: Mask, last: Floats) -> NDArray[np.float32]:
        """Returns the observation of the layer about to be decided, the last one at the end.

        Args:
            prefix: the choices of the layers before it.
            mask: its feasible choices.
            last: the action executed before, normalised to [-1, 1].
        """
        step = min(len(prefix), len(self._feasible) - 1)
        feasibility = self._feasible.allocation
        limits = np.maximum(feasibility.limits, 1)
        used = feasibility.spent(prefix)
        cheapest, dearest = feasibility.bounds(prefix[:step])
        left = np.maximum(limits - used, 1)
        low, high = self._feasible.actions.action_range(step, mask)
        budget = [
            self._ratio,
            float((used / limits).max()),
            min(1.0, float((cheapest / left).max())),
            min(1.0, float((left / np.maximum(dearest, 1)).min())),
            float(mask.mean()),
        ]
        values = np.concatenate([self._static[step], budget, self._curves[step], low, high, last])
        observation: NDArray[np.float32] = np.clip(values, -1, 1).astype(np.float32)
        return observation

    @property
    def layers(self) -> Floats:
        """`(n_layers, n_features)`: what of a layer's observation does not depend on the plan."""
        return np.array([[*a, *b] for a, b in zip(self._static, self._curves, strict=True)])

    def _layer_features(self, step: int, layer: LayerSpec, weights: int, macs: int) -> list[float]:
        return [
            step / len(self._feasible),
            *(float(layer.kind == kind) for kind in KINDS),
            1 - 1 / layer.groups,
            math.log2(layer.inputs) / 16,
            math.log2(layer.outputs) / 16,
            math.log2(max(1, layer.kernel)) / 8,
            math.log2(max(1, layer.stride)) / 3,
            layer.n_weights / weights,
            layer.macs / macs,
            math.log10(layer.n_weights) / 9,
        ]

    def _curve(self, step: int) -> list[float]:
        coordinates = self._feasible.coordinates(step)
        curve = []
        for point in np.linspace(-1, 1, CURVE):
            nearest = int(((coordinates - point) ** 2).sum(1).argmin())
            loss = float(self._feasible.losses[step][nearest])
            curve.append((6 + math.log10(min(max(loss, 1e-6), 10.0))) / 7)
        return curve
