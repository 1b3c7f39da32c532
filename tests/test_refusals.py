"""Extensions that break their contract are refused at the border, in one line that says how."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autocomp.agents import Agent, make_agent
from autocomp.envs import LayerwiseEnv, WholePlanEnv, find_reward
from autocomp.search_spaces import SearchSpace, make_space
from gymnasium import spaces
from torch import nn

from autocomp.compression.weights import (
    COMPRESSORS,
    Compressor,
    GPTQQuantizer,
    OBSPruner,
    Pipeline,
    make_pipeline,
)
from autocomp.core.budget import Budget
from autocomp.core.choice import Choice
from autocomp.costs import COSTS, Cost, make_cost
from autocomp.data import DataSplits
from autocomp.errors import AutocompError
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.testing import ToyProblem
from autocomp.testing.networks import calibrated, small_network


class Bits(SearchSpace):
    """A sound space of two bit-widths."""

    action_space: Any = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def choices(self, layer: Any) -> list[Choice]:
        return [Choice.of(weight_bits=b) for b in (2, 8)]

    def decode(self, layer: Any, action: Any) -> Choice:
        return self.choices(layer)[int(float(np.ravel(action)[0]) > 0)]

    def encode(self, layer: Any, choice: Choice) -> Any:
        return np.array([-0.5 if choice.weights.bits == 2 else 0.5], np.float32)


class Elsewhere(Bits):
    def decode(self, layer: Any, action: Any) -> Choice:
        return Choice.of(weight_bits=5)


class Nested(Bits):
    action_space = spaces.Dict({"bits": spaces.Discrete(2)})


class Empty(Bits):
    def choices(self, layer: Any) -> list[Choice]:
        return []


class OldAgent(Agent):
    def search(  # type: ignore[override]
        self, problem: Any, space: Any, n_evaluations: int, seed: int, on_outcome: Any = None
    ) -> Any:
        return None


class Searches:
    def search(self, task: Any) -> Any:
        return None


class Half(Cost):
    """A cost whose numbers are whatever it is told."""

    unit = "halves"

    def __init__(self, store: Any, number: Any = 1, member: str = "of_layer") -> None:
        self._numbers = {"of_layer": 1, "fixed": 0, "reference": 100, member: number}

    def of_layer(self, layer: Any, choice: Any) -> Any:
        return self._numbers["of_layer"]

    def fixed(self, side_bits: int) -> Any:
        return self._numbers["fixed"]

    @property
    def reference(self) -> Any:
        return self._numbers["reference"]


class Halving(Compressor):
    def compress(self, weight: Any, choice: Any, stats: Any) -> Any:
        return weight / 2


def refused(call: Callable[[], object]) -> str:
    """Returns the message of the error: one line, no longer than a few."""
    with pytest.raises(AutocompError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_space(Bits), r"search space must be an object, .* the class Bits; give Bits"),
        (lambda: make_space(object()), "lacks action_map, action_space, choices, decode, encode"),
        (lambda: make_agent(OldAgent), r"An agent must be an object, .* give OldAgent\(\)"),
        (lambda: make_agent(OldAgent()), r"takes one argument, search\(self, task: SearchTask\)"),
        (lambda: make_agent(Searches()), "lacks learned_policy, study, train_policy, with_policy"),
        (lambda: make_agent(object()), r"must have search\(task\)"),
        (lambda: Pipeline(OBSPruner), "A compressor must be an object, .* the class OBSPruner"),
        (lambda: Pipeline(quantizer=GPTQQuantizer), "quantizer must be an object"),
        (lambda: Pipeline(quantizer=Halving()), "Quantizer, but Halving lacks quantize"),
        (lambda: Pipeline(object()), "lacks compress, key, passes_on_order"),
        (lambda: find_reward(3), "A reward must be a function of a Step, but 3 is int"),
    ],
)
def test_what_is_no_such_thing(call: Callable[[], object], words: str) -> None:
    assert re.search(words, refused(call))


@pytest.mark.parametrize("contract", [SearchSpace, Agent, Cost, Compressor])
def test_who_inherits_must_define_what_has_no_default(contract: Any) -> None:
    kind = type("Mine", (contract,), {})
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_a_registered_object_is_no_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPRESSORS, "mine", Halving())  # type: ignore[arg-type]
    assert "must stand for its class" in refused(lambda: make_pipeline("mine"))
    monkeypatch.setitem(COMPRESSORS, "mine", lambda: Halving)
    assert "give Halving()" in refused(lambda: make_pipeline("mine"))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda store: Half, r"A cost must be an object, but got the class Half; give Half\(\)"),
        (lambda store: object(), "lacks estimate, fixed, measured, of_layer, reference, unit"),
        (lambda: Half(None), "is made of a CompressionStore"),
        (Half(None), "is made of a CompressionStore"),
    ],
)
def test_what_makes_no_cost(made: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS, "half", made)
    store = calibrated(small_network())
    assert re.search(words, refused(lambda: make_cost("half", store)))


@pytest.mark.parametrize("number", [1.0, -1, None, True, np.int64(3)])
@pytest.mark.parametrize("member", ["of_layer", "fixed", "reference"])
def test_a_cost_that_is_no_whole_number(
    member: str, number: Any, tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    def search() -> None:
        budget = Budget(lambda store: Half(store, number, member), 0.9)  # type: ignore[arg-type]
        settings = ProblemSettings(search_images=8)
        problem = CompressionProblem(tiny_net, tiny_data, [budget], settings)
        menus = [[Choice.of(weight_bits=8)] for _ in problem.network.layers]
        problem.allocation(menus)

    text = refused(search)
    assert f"{member} of Half gave {number!r}" in text and "return an int" in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", object(), [1.0]])
@pytest.mark.parametrize("env", [LayerwiseEnv, WholePlanEnv])
def test_a_reward_that_is_no_number(env: Any, value: Any) -> None:
    def mine(step: Any) -> Any:
        return value

    made = env(ToyProblem().feasible(Bits()), reward=mine)
    made.reset()
    text = refused(lambda: made.step(made.action_space.sample()))
    assert text.startswith("A reward must be a finite number for every Step, but mine gave ")


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), True])
def test_any_real_number_is_a_reward(value: Any) -> None:
    made = LayerwiseEnv(ToyProblem().feasible(Bits()), reward=lambda step: value)
    made.reset()
    reward = made.step(made.action_space.sample())[1]
    assert type(reward) is float and reward == value


def test_a_space_whose_actions_mean_nothing() -> None:
    env = LayerwiseEnv(ToyProblem("size=50%").feasible(Elsewhere()))
    env.reset()
    assert "must decode to one of its choices" in refused(lambda: env.step(np.zeros(1)))
    assert "must be a flat Box" in refused(lambda: ToyProblem().feasible(Nested()))
    assert "must offer a choice for 'l0'" in refused(lambda: ToyProblem().feasible(Empty()))
