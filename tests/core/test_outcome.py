from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocomp.core.choice import Choice
from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.plan import Plan
from autocomp.errors import RunError

PLAN = Plan({"a": Choice.of(weight_bits=4), "b": Choice.of(sparsity=0.5)})

outcomes = st.builds(
    Outcome,
    plan=st.just(PLAN),
    quality=st.floats(0, 1),
    loss=st.floats(0, 1e9),
    n=st.integers(1, 10**6),
    costs=st.dictionaries(st.text(), st.integers(0, 2**62), max_size=3),
    within_budget=st.booleans(),
    fidelity=st.sampled_from(list(Fidelity)),
    seconds=st.integers(0, 10**7).map(lambda n: n / 10_000),
)


def made(accuracy: float, loss: float = 1.0, within: bool = True, n: int = 10) -> Outcome:
    return Outcome(PLAN, accuracy, loss, n, {"size": 5}, within, "F1", 0.25)


@given(outcomes)
def test_an_outcome_survives_json(outcome: Outcome) -> None:
    text = json.dumps(outcome.to_json())
    assert "\n" not in text
    assert Outcome.from_json(json.loads(text)) == outcome


@pytest.mark.parametrize("field", sorted(made(0.5).to_json()))
def test_a_field_is_missing(field: str) -> None:
    values = made(0.5).to_json()
    del values[field]
    said = "quality" if field == "accuracy" else field  # of another metric
    with pytest.raises(RunError, match=f"whole outcome, but KeyError.*{said}"):
        Outcome.from_json(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy", "high"),
        ("loss", None),
        ("n", math.inf),
        ("n", "ten"),
        ("costs", [1]),
        ("costs", {"size": "x"}),
        ("plan", 3),
        ("plan", {"a": 3}),
        ("plan", {"a": {"weight_bits": 0}}),
        ("plan", {"a": {"depth": 1}}),
        ("seconds", "x"),
    ],
)
def test_a_field_is_of_the_wrong_kind(field: str, value: Any) -> None:
    with pytest.raises(RunError, match="must hold a whole outcome") as caught:
        Outcome.from_json({**made(0.5).to_json(), field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[], "x", 3, None])
def test_what_is_no_object(values: Any) -> None:
    with pytest.raises(RunError, match="must hold a whole outcome"):
        Outcome.from_json(values)


def test_rank_is_feasible_first_then_accuracy_then_loss() -> None:
    ordered = [made(0.9, 0.1, False), made(0.5, 2.0), made(0.5, 1.0), made(0.6, 3.0)]
    assert sorted(reversed(ordered), key=lambda outcome: outcome.rank) == ordered


def test_the_merit_is_minus_the_gap() -> None:
    """Of an outcome that was written before there was one, minus the divergence."""

    def merit(divergence: float, gap: float | None) -> float:
        return Outcome(PLAN, 0.8, 1.0, 9, {}, True, Fidelity.SCREEN, 0.0, divergence, gap=gap).merit

    assert merit(0.25, 0.75) == -0.75
    assert merit(0.25, 0.0) == 0
    assert merit(0.25, None) == -0.25


def test_screened_plans_are_ranked_by_merit_and_whole_ones_by_quality() -> None:
    def rank(fidelity: Fidelity) -> tuple[bool, float, float, float]:
        return Outcome(PLAN, 0.8, 1.5, 3000, {}, True, fidelity, 0.0, 0.05, gap=0.25).rank

    assert rank(Fidelity.SCREEN) == (True, -0.25, 0.8, -1.5)
    for level in (Fidelity.FULL, Fidelity.RECONSTRUCTED, Fidelity.TUNED):
        assert rank(level) == (True, 0.8, 0.8, -1.5)


@pytest.mark.parametrize("gap", [None, 0.0, 1.5])
def test_the_gap_goes_to_json_and_back(gap: float | None) -> None:
    one = Outcome(PLAN, 0.8, 1.0, 9, {}, True, Fidelity.SCREEN, 0.0, 0.25, gap=gap)
    assert ("gap" in one.to_json()) == (gap is not None)
    assert Outcome.from_json(one.to_json()) == one


def test_the_best() -> None:
    low, high = made(0.5), made(0.7)
    assert best_of([low, high, made(0.9, within=False)]) is high
    first, second = made(0.5, n=1), made(0.5, n=2)
    assert best_of([first, second]) is first and best_of([second, first]) is second
    assert best_of([]) is None and best_of([made(0.9, within=False)]) is None
