from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.choice import BITS, NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.errors import AutocompError, ChoiceError, PlanError

sparsities = st.floats(0, 1, exclude_max=True)
patterns = st.integers(2, 255).flatmap(
    lambda m: st.integers(1, m - 1).map(lambda n: f"{n}:{m}"),
)
bits = st.sampled_from(BITS)
choices = st.one_of(
    st.builds(Choice.of, sparsity=sparsities, weight_bits=bits, activation_bits=bits),
    st.builds(Choice.of, pattern=patterns, weight_bits=bits, activation_bits=bits),
)
plans = st.dictionaries(st.text(min_size=1), choices, max_size=5).map(Plan)


@given(choices)
def test_a_choice_survives_json(choice: Choice) -> None:
    again = Choice.from_json(json.loads(json.dumps(choice.to_json())))
    assert again == choice and hash(again) == hash(choice)
    assert (choice.to_json() == {}) == choice.is_neutral
    assert round(choice.weights.sparsity, 4) == choice.weights.sparsity <= 0.9999


@given(plans)
def test_a_plan_survives_json(plan: Plan) -> None:
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and hash(again) == hash(plan)
    assert list(again) == list(plan) and again.key == plan.key


@given(plans, plans)
def test_the_key_identifies_a_plan(one: Plan, other: Plan) -> None:
    assert (one.key == other.key) == (one == other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1.0}, r"`0 <= sparsity < 1` must hold.*sparsity=1\.0"),
        ({"sparsity": 1}, r"sparsity=1\."),
        ({"sparsity": -0.1}, r"sparsity=-0\.1"),
        ({"sparsity": float("nan")}, r"finite number, but got nan"),
        ({"sparsity": float("inf")}, r"finite number, but got inf"),
        ({"sparsity": "half"}, r"finite number, but got 'half'"),
        ({"sparsity": None}, r"finite number, but got None"),
        ({"weight_bits": 9}, r"`weight_bits` must be one of .* but got 9\."),
        ({"weight_bits": 9}, r"`weight_bits`.* got 9\."),
        ({"weight_bits": "8"}, r"`weight_bits`.* got '8'"),
        ({"weight_bits": [8]}, r"`weight_bits`.* got \[8\]"),
        ({"activation_bits": 0}, r"`activation_bits`.* got 0\."),
        ({"activation_bits": True}, r"`activation_bits`.* got True"),
        ({"pattern": "4:2"}, r"'N:M' with 1 <= N < M <= 255, but got '4:2'"),
        ({"pattern": "2:2"}, r"got '2:2'"),
        ({"pattern": "0:4"}, r"got '0:4'"),
        ({"pattern": "2:256"}, r"got '2:256'"),
        ({"pattern": "half"}, r"got 'half'"),
        ({"pattern": None}, r"got None"),
        ({"pattern": ["2:4"]}, r"got \['2:4'\]"),
        ({"pattern": "2:4", "sparsity": 0.5}, r"takes `sparsity` or `pattern`.*0\.5.*'2:4'"),
        ({"depth": 3}, r"no field of a choice named 'depth'\. Known: sparsity, .*activation_bits"),
    ],
)
def test_what_a_choice_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ChoiceError, match=message) as caught:
        Choice.from_json(values)
    assert "\n" not in str(caught.value)


def test_values_are_brought_to_one_form() -> None:
    """Equal choices must have one key and one record in a file, however they were written."""
    assert Choice.of(sparsity=0.123449).weights.sparsity == 0.1234
    assert Choice.of(sparsity=0.99999).weights.sparsity == 0.9999
    assert (
        Choice.of(sparsity=0) == NEUTRAL and type(Choice.of(sparsity=0).weights.sparsity) is float
    )
    for written in (8.0, np.int64(8)):
        choice = Choice.of(weight_bits=written, activation_bits=written)  # type: ignore[arg-type]
        assert type(choice.weights.bits) is int and type(choice.activations.bits) is int
        assert json.dumps(choice.to_json()) == '{"weight_bits": 8, "activation_bits": 8}'
    assert Choice.of(pattern="02:04") == Choice.of(pattern="2:4")
    assert Choice.of(pattern="2:4").weights.n_of_m == (2, 4) and NEUTRAL.weights.n_of_m == (1, 1)


def test_nothing_can_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        NEUTRAL.weights.bits = 4  # type: ignore[misc]
    given_choices = {"a": NEUTRAL}
    plan = Plan(given_choices)
    given_choices["a"] = Choice.of(weight_bits=2)
    assert plan["a"] == NEUTRAL
    with pytest.raises(TypeError):
        plan["a"] = NEUTRAL  # type: ignore[index]


def test_a_choice_in_words() -> None:
    assert str(NEUTRAL) == "dense" and NEUTRAL.is_neutral
    assert str(Choice.of(sparsity=0.5, weight_bits=4, activation_bits=8)) == "50% zero w4 a8"
    assert str(Choice.of(pattern="2:4")) == "2:4"
    assert repr(Plan({"a": NEUTRAL, "b": Choice.of(weight_bits=3)})) == "Plan(a: dense, b: w3)"


def test_a_plan_is_a_mapping() -> None:
    plan = Plan({"a": NEUTRAL, "b": Choice.of(weight_bits=3)})
    assert list(plan) == ["a", "b"] and len(plan) == 2 and "a" in plan and "c" not in plan
    assert plan.get("b") == Choice.of(weight_bits=3) and plan.get("c") is None
    assert plan.get("c", NEUTRAL) is NEUTRAL
    with pytest.raises(PlanError, match=r"no layer 'c'; it has \['a', 'b'\]"):
        plan["c"]
    assert plan != {"a": NEUTRAL} and plan == pickle.loads(pickle.dumps(plan))


def test_equal_plans_have_equal_hashes() -> None:
    one = Plan({"a": NEUTRAL, "b": Choice.of(weight_bits=3)})
    turned = Plan({"b": Choice.of(weight_bits=3), "a": NEUTRAL})
    assert one == turned and hash(one) == hash(turned) and one.key == turned.key
    assert one != Plan({"a": NEUTRAL, "b": NEUTRAL})


def test_replace_gives_another_plan() -> None:
    plan = Plan({"a": NEUTRAL, "b": NEUTRAL})
    changed = plan.replace("a", Choice.of(sparsity=0.5))
    assert (
        changed["a"].weights.sparsity == 0.5
        and plan["a"] == NEUTRAL
        and list(changed) == ["a", "b"]
    )
    with pytest.raises(PlanError, match="no layer 'c'"):
        plan.replace("c", NEUTRAL)


def test_side_tensors_take_16_bits_once_a_weight_is_quantized() -> None:
    dense = Plan({"a": NEUTRAL, "b": Choice.of(sparsity=0.5, weight_bits=32, activation_bits=4)})
    assert dense.side_bits == 32
    assert dense.replace("a", Choice.of(weight_bits=16)).side_bits == 16


@pytest.mark.parametrize("values", [[], "a", 3, None, {"a": 3}, {"a": [4]}])
def test_what_is_no_plan(values: Any) -> None:
    with pytest.raises(PlanError, match="JSON object of layer name -> choice object"):
        Plan.from_json(values)


def test_a_plan_with_a_bad_choice() -> None:
    with pytest.raises(ChoiceError, match="weight_bits"):
        Plan.from_json({"a": {"weight_bits": 5.5}})
    assert issubclass(ChoiceError, AutocompError) and issubclass(PlanError, AutocompError)
