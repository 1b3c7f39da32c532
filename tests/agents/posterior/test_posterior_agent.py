from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocomp.agents import SearchTask, make_agent
from autocomp.agents.learned_multipliers import FILE, Coefficients, LearnedMultipliers
from autocomp.search_spaces import make_space

from autocomp.errors import AgentError

SPACE = "bits:weight_bits=2/3/4/6/8"


def learned(n: int = 3, **changes: Any) -> LearnedMultipliers:
    values: dict[str, Any] = {
        "layers": tuple(f"l{i}" for i in range(n)),
        "mean": Coefficients(np.array([0.5, 1.0, 2.0][:n]), np.array([0.1, 0.0, -0.1][:n])),
        "deviation": Coefficients(np.full(n, 0.1), np.full(n, 0.2)),
        "at_start": np.array([1.0, 2.0, 4.0][:n]),
        "features": np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]][:n]),
        "evaluations": 7,
    }
    return LearnedMultipliers(**{**values, **changes})


def test_wrong_estimates_are_learned_and_travel_to_another_budget(
    make_toy: Any, tmp_path: Path
) -> None:
    """The multipliers of one budget find a better plan than the solver's at another, untried."""
    space = make_space(SPACE)
    first = make_agent("posterior").search(SearchTask.of(make_toy("size=12%"), space, 40, 0))
    assert first.save is not None
    file = first.save(tmp_path)
    for budget in ("size=9%", "size=10%", "size=13%", "size=14%"):
        toy = make_toy(budget)
        task = SearchTask.of(toy, space, 2, 0)
        plain, travelled = make_agent("posterior").with_policy(str(file)).search(task).outcomes
        best = toy.optimum(space)
        assert travelled.accuracy - plain.accuracy > 0.8 * (best - plain.accuracy) > 0


def test_what_the_agent_believes_in_is_a_finalist(make_toy: Any) -> None:
    found = make_agent("posterior").search(SearchTask.of(make_toy("size=12%"), SPACE, 30, 0))
    assert set(found.finalists) <= {o.plan for o in found.outcomes}
    assert len(found.finalists) == 1


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = learned()
    assert one.write(tmp_path) == tmp_path / FILE
    for path in (tmp_path, tmp_path / FILE):
        again = LearnedMultipliers.read(path)
        assert again.layers == one.layers and again.evaluations == 7
        assert (again.mean.theta == one.mean.theta).all()
        assert (again.deviation.kappa == one.deviation.kappa).all()
        assert (again.features == one.features).all()


def test_of_the_same_network_kappa_is_rebased() -> None:
    """theta + kappa ln(L / a) is the same function of L whatever plan it is relative to."""
    one, at = learned(), np.array([2.0, 1.0, 4.0])
    found = one.for_layers(one.layers, at, one.features)
    for loss in (0.3, 1.0, 5.0):
        before = one.mean.theta + one.mean.kappa * np.log(loss / one.at_start)
        after = found.theta + found.kappa * np.log(loss / at)
        assert after == pytest.approx(before)


def test_of_another_network_theta_follows_the_features() -> None:
    many = 40
    features = np.linspace(-1, 1, many)[:, None] * np.array([[3.0, 0.0]])
    theta = np.exp(0.5 * features[:, 0])
    one = learned(
        3, layers=tuple(f"x{i}" for i in range(many)), features=features,
        mean=Coefficients(theta, np.full(many, 0.2)), at_start=np.ones(many),
        deviation=Coefficients(np.ones(many), np.ones(many)),
    )  # fmt: skip
    found = one.for_layers(("a", "b"), np.ones(2), np.array([[-1.0, 0.0], [1.0, 0.0]]))
    assert found.theta == pytest.approx(np.exp([-0.5, 0.5]), rel=0.05)
    assert found.kappa == pytest.approx([0.2, 0.2])
    with pytest.raises(AgentError, match="described by 3 numbers, but theirs are by 2"):
        one.for_layers(("a",), np.ones(1), np.ones((1, 3)))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"layers": []}, {"layers": [1, 2, 3]}, {"theta": [1.0]},
        {"theta": [1.0, "x", 2.0]}, {"kappa": [0.0, None, 0.0]}, {"features": [[1.0]]},
        {"at_start": [[1.0], [1.0], [1.0]]}, {"evaluations": "many"}, {"features": 3},
        {"evaluations": float("inf")}, {"theta": [1.0, 10**400, 1.0]},
        {"theta_deviation": [0.1, 0.0, 0.1]}, {"kappa_deviation": [0.1, -0.1, 0.1]},
    ],
)  # fmt: skip
def test_damaged_files_are_told(tmp_path: Path, change: dict[str, Any]) -> None:
    file = learned().write(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(AgentError, match="cannot be read") as caught:
        LearnedMultipliers.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN", "null", '{"format": 1}'])
def test_what_is_no_such_file(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(AgentError, match="cannot be read"):
        make_agent(f"posterior:policy={tmp_path}")
    with pytest.raises(AgentError, match="is neither"):
        make_agent("posterior").with_policy(str(tmp_path / "elsewhere"))
    with pytest.raises(AgentError):
        make_agent("posterior").with_policy("a" * 5000)


@pytest.mark.parametrize("option", ["spread=0", "curvature=nan", "every=0", "every=1.5"])
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(AgentError):
        make_agent(f"posterior:{option}")
