"""The whole observation by hand: a network of known shapes, costs and losses of a closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2, log10
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.envs import LayerwiseEnv, WholePlanEnv
from autocomp.envs.observations import CURVE, KINDS, Observer, feature_names
from autocomp.search_spaces import FeasibleSpace, make_space
from torch import nn

from autocomp.allocation.separable import SeparableAllocation
from autocomp.core.budget import Budget
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.network.analysis import analyse

BITS = (2, 3, 4, 6, 8)  # their places are -0.8, -0.4, 0, 0.4 and 0.8
SPACE = "bits:weight_bits=2/3/4/6/8,activation_bits=2/3/4/6/8"
CURVES = [  # loss by layer at 2, 3, 4, 6 and 8 bits of both kinds; 0.5 nats elsewhere
    (100.0, 10.0, 1.0, 0.1, 0.01),
    (1e-2, 1e-3, 1e-4, 1e-6, 1e-9),
    (2.0, 2.0, 2.0, 2.0, 2.0),
    (1.0, 1e-1, 1e-2, 1e-3, 1e-4),
]


class Size:
    """Bytes: weights * bits / 8."""

    unit, reference = "bytes", 4 * 1432

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        return layer.n_weights * choice.weights.bits // 8


class Work:
    """MACs * bits of weights * bits of activations / 4."""

    unit, reference = "quads", 256 * 20512

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        return layer.macs * choice.weights.bits * choice.activations.bits // 4


class Stub:
    """What an environment asks of a problem: 548 bytes, 41,024 quads, spent to 97 %."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.budgets = (Budget("size", 548), Budget("work", 41024))
        self.costs: dict[str, Any] = {"size": Size(), "work": Work()}
        self.limits = {"size": 548, "work": 41024}

    def layers(self, structural: bool = False) -> tuple[LayerSpec, ...]:
        return self.network.layers

    def allocation(self, menus: Sequence[Sequence[Choice]], *_: Any) -> SeparableAllocation:
        costs = [
            np.array([[self.costs[n].of_layer(layer, c) for n in self.limits] for c in menu])
            for layer, menu in zip(self.network.layers, menus, strict=True)
        ]
        limits = np.array(list(self.limits.values()))
        return SeparableAllocation(costs, limits, lambda: self.losses(menus), 0.97)

    def losses(self, menus: Sequence[Sequence[Choice]]) -> list[Any]:
        def loss(curve: Sequence[float], choice: Choice) -> float:
            bits = choice.weights.bits
            return curve[BITS.index(bits)] if bits == choice.activations.bits else 0.5

        return [
            np.array([loss(curve, c) for c in menu])
            for curve, menu in zip(CURVES, menus, strict=False)
        ]

    def evaluate(self, plan: Plan, fidelity: str = "F1") -> Outcome:
        return Outcome(plan, 0.5, 1.0, 100, self.limits, True, fidelity, 0.0)  # type: ignore[arg-type]

    def dense_score(self, fidelity: str = "F1") -> Score:
        return Score(0.5, 1.0, 100)


@pytest.fixture(scope="module")
def network() -> Network:
    """1,432 weights and 20,512 MACs on a 3 x 8 x 8 input."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # to 8 x 4 x 4
        nn.Conv2d(8, 16, 5, padding=2, groups=4),
        nn.ConvTranspose2d(16, 4, 2, stride=4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    return analyse(model.eval(), torch.zeros(1, 3, 8, 8), ())


def chosen(weight_bits: int, activation_bits: int) -> Choice:
    return Choice.of(weight_bits=weight_bits, activation_bits=activation_bits)


CHOSEN = (chosen(2, 3), chosen(2, 4), chosen(4, 2), chosen(8, 2))

# position; conv, transposed, linear, embedding, attention; grouping; inputs, outputs, kernel,
# stride; weights, MACs, log weights
LAYERS = [
    [0 / 4, 1, 0, 0, 0, 0, 0, log2(3) / 16, 3 / 16, log2(9) / 8, 1 / 3,
     216 / 1432, 3456 / 20512, log10(216) / 9],
    [1 / 4, 1, 0, 0, 0, 0, 3 / 4, 3 / 16, 4 / 16, log2(25) / 8, 0,
     800 / 1432, 12800 / 20512, log10(800) / 9],
    [2 / 4, 0, 1, 0, 0, 0, 0, 4 / 16, 2 / 16, 2 / 8, 2 / 3,
     256 / 1432, 4096 / 20512, log10(256) / 9],
    [3 / 4, 0, 0, 1, 0, 0, 0, 4 / 16, log2(10) / 16, 0, 0,
     160 / 1432, 160 / 20512, log10(160) / 9],
]  # fmt: skip
LAYERS.append(LAYERS[3])  # behind the end the last layer is shown

# of bytes and quads, the tighter one: the ratio; spent; the cheapest completion (2 bits of both)
# over what is left; what is left over the dearest (8 bits of both); the share that is feasible
BUDGET = [
    [1 / 128, 0, (1432 / 4) / 548, 41024 / (16 * 20512), 19 / 25],
    [1 / 128, 5184 / 41024, (1216 / 4) / 494, 35840 / (16 * 17056), 5 / 25],
    [1 / 128, 30784 / 41024, 4256 / 10240, 10240 / (16 * 4256), 3 / 25],
    [1 / 128, 38976 / 41024, (160 / 4) / 166, 2048 / (16 * 160), 10 / 25],
    [1 / 128, 542 / 548, 1, 6 / 160, 1],
]
# (6 + log10 of the loss) / 7, between 1e-6 and 10
ERRORS = [
    [1, 1, 6 / 7, 5 / 7, 4 / 7],
    [4 / 7, 3 / 7, 2 / 7, 0, 0],
    [(6 + log10(2)) / 7] * 5,
    [6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7],
]
ERRORS.append(ERRORS[3])
# least and largest feasible weight and activation bits, and what was executed before
ENTRIES = [
    [-0.8, -0.8, 0.8, 0.8, 0, 0],
    [-0.8, -0.8, -0.4, 0, -0.8, -0.4],
    [-0.8, -0.8, 0, 0, -0.8, 0],
    [-0.4, -0.8, 0.8, 0.8, 0, -0.8],
    [-0.8, -0.8, 0.8, 0.8, 0.8, -0.8],
]


def test_the_whole_observation_at_every_layer(network: Network) -> None:
    env = LayerwiseEnv(FeasibleSpace.build(Stub(network), make_space(SPACE)))  # type: ignore[arg-type]
    seen = [env.reset()[0]]
    for layer, choice in zip(network.layers, CHOSEN, strict=True):
        observation, *_, info = env.step(env.feasible.space.encode(layer, choice))
        assert info["choice"] == choice  # as it was asked for: nothing was projected
        seen.append(observation)
    names = feature_names(2)
    for step, observation in enumerate(seen):
        by_hand = [*LAYERS[step], *BUDGET[step], *ERRORS[step], *ENTRIES[step]]
        wanted = dict(zip(names, by_hand, strict=True))
        found = dict(zip(names, observation.tolist(), strict=True))
        assert found == pytest.approx(wanted, abs=1e-6), step


def test_the_whole_observation_of_the_whole_plan(network: Network) -> None:
    env = WholePlanEnv(FeasibleSpace.build(Stub(network), make_space(SPACE)))  # type: ignore[arg-type]
    by_hand = [1 / 128, (1432 / 4) / 548, 41024 / (16 * 20512)]
    assert env.reset()[0].tolist() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_own_entry(kind: str, network: Network) -> None:
    layer = replace(network.layers[3], kind=kind)
    one = Stub(Network((layer,), (), (), (), (), (), 160))
    feasible = FeasibleSpace.build(one, make_space("bits:weight_bits=2/8"))  # type: ignore[arg-type]
    observation = Observer(feasible).observe((), np.ones(2, bool), np.zeros(1))
    values = dict(zip(feature_names(1), observation.tolist(), strict=True))
    assert [values[f"is {known}"] for known in KINDS] == [float(known == kind) for known in KINDS]
    assert values["share of weights"] == values["share of MACs"] == 1


def test_the_curve_has_as_many_points_as_these(network: Network) -> None:
    assert len(BITS) == CURVE
