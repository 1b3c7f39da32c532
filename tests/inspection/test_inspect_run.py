"""Everything that is found out about a run: complete, kept, and never at the result's cost."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from autocomp.agents.reinforcement.checkpoints import LOOKS, NETWORKS
from autocomp.agents.samplers.optuna_agent import STUDY
from autocomp.agents.task import SearchTask
from autocomp.search_spaces import FeasibleSpace

import autocomp.inspection.inspect_run as module
from autocomp.core.outcome import Outcome, best_of
from autocomp.errors import RunError
from autocomp.inspection.findings import FILE, FORMAT, Findings
from autocomp.inspection.inspect_run import inspect_run
from autocomp.inspection.study import study_picture


def judged(feasible: FeasibleSpace, indices: list[int], fidelity: str = "F1") -> Outcome:
    return feasible.problem.evaluate(feasible.plan(indices), fidelity)


def other(feasible: FeasibleSpace) -> list[int]:
    """The solver's plan with its first movable layer at another choice."""
    indices = list(feasible.allocation.plan)
    t = next(t for t, choices in enumerate(feasible.choices) if len(choices) > 1)
    indices[t] = 0 if indices[t] else 1
    return indices


@pytest.fixture(scope="module")
def learned(
    menu_of: Any, tmp_path_factory: pytest.TempPathFactory, make_small: Any
) -> tuple[Any, Path, Outcome]:
    """An agent that learned something, its folder, and its best outcome."""
    folder = tmp_path_factory.mktemp("learned")
    agent: Any = make_small("ppo")
    found = agent.search(SearchTask(menu_of(), 6, 0, folder=folder))
    best = best_of(found.outcomes)
    assert best is not None
    return agent, folder, best


def test_a_learned_run_is_found_out_about(learned: Any, menu_of: Any) -> None:
    agent, folder, best = learned
    feasible = menu_of()
    found = inspect_run(feasible, agent, best, folder)
    names = tuple(layer.name for layer in feasible.layers)
    assert (found.plan, found.fidelity) == (best.plan.key, "F1")
    assert (found.cost, found.unit) == ("size", "bytes")
    assert tuple(layer.name for layer in found.layers) == names
    assert tuple(curve.layer for curve in found.curves) == names
    assert {price.layer for price in found.prices} <= set(names)
    assert found.predictions is not None and found.predictions.n == 120  # the whole split
    right = sum(c.n * c.compressed for c in found.predictions.classes)
    whole = feasible.problem.evaluate(best.plan, "F2")
    assert right / found.predictions.n == pytest.approx(whole.accuracy)
    assert found.policy is not None and found.policy.algorithm == "PPO"
    assert found.policy.movement.evaluations[-1] == 6
    assert found.study is None
    assert set(found.left_out) <= {"ablations"}
    json.dumps(found.to_json(), allow_nan=False)


def test_findings_are_read_as_they_were_written(
    learned: Any, menu_of: Any, make_separable: Any, tmp_path: Path, make_small: Any
) -> None:
    agent, folder, _ = learned
    found = inspect_run(menu_of(), agent, judged(menu_of(), other(menu_of())), folder)
    make_small("tpe", storage=str(tmp_path / STUDY)).search(
        SearchTask.of(make_separable("size=12%"), menu_of().space, 9, 0)
    )
    found = replace(found, study=study_picture(tmp_path / STUDY, "TPE"), left_out={"a": "b"})
    assert found.study is not None and found.ablations and found.policy is not None
    assert found.write(tmp_path) == tmp_path / FILE
    assert Findings.read(tmp_path) == found
    values = json.loads((tmp_path / FILE).read_text())
    assert values["format"] == FORMAT
    assert set(values) == {"format", "sha256", *(f.name for f in fields(Findings))}


def test_no_findings_or_those_of_another_format_are_none(tmp_path: Path) -> None:
    assert Findings.read(tmp_path) is None
    found = Findings("k", "F2", "size", "bytes", ())
    for number in (FORMAT + 1, 0, None, "1"):
        (tmp_path / FILE).write_text(json.dumps({**found.to_json(), "format": number}))
        assert Findings.read(tmp_path) is None
    found.write(tmp_path)
    assert Findings.read(tmp_path) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "7", '{"format": 1}', '{"format": 1, "plan": 3, "layers": 4}',
        '{"format": 1, "plan": "k", "fidelity": "F2", "cost": "size", "unit": "bytes", '
        '"layers": [{"name": "a"}]}',
    ],
)  # fmt: skip
def test_damaged_findings_are_named_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RunError, match="make the report again") as caught:
        Findings.read(tmp_path)
    assert "\n" not in str(caught.value) and FILE in str(caught.value)


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunError, match="damaged"):
        Findings.read(tmp_path)


PARTS = ["error_curves", "ablations", "layer_results", "prices", "compare_predictions",
         "PolicyReplay"]  # fmt: skip
ATTRIBUTES = ["curves", "ablations", "layers", "prices", "predictions", "policy"]


@pytest.mark.parametrize(("part", "attribute"), [*zip(PARTS, ATTRIBUTES, strict=True)])
def test_a_part_that_fails_is_left_out_with_its_reason(
    part: str, attribute: str, learned: Any, menu_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, folder, best = learned
    outcome = judged(menu_of(), other(menu_of()))

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(module, part, fail)
    found = inspect_run(menu_of(), agent, outcome, folder)
    assert found.left_out[attribute] == "ValueError: two lines"
    assert getattr(found, attribute) in ((), None)
    for rest in ATTRIBUTES:
        if rest != attribute and (attribute, rest) != ("curves", "prices"):
            assert getattr(found, rest), rest
    json.dumps(found.to_json(), allow_nan=False)


def test_a_damaged_policy_is_left_out(learned: Any, menu_of: Any, tmp_path: Path) -> None:
    agent, _, best = learned
    (tmp_path / NETWORKS).write_bytes(b"PK nothing")
    (tmp_path / LOOKS).write_text('{"evaluations": 1, "actions": [[0]]}\n')
    found = inspect_run(menu_of(), agent, best, tmp_path)
    assert found.policy is None
    assert "cannot be read" in found.left_out["policy"]
    assert found.curves and found.predictions


def test_the_agents_own_policy_option_is_left_alone(learned: Any, menu_of: Any) -> None:
    agent, folder, best = learned
    before = agent.policy
    inspect_run(menu_of(), agent, best, folder)
    assert agent.policy == before == ""


def test_a_plan_of_other_choices_has_no_curves(
    learned: Any, menu_of: Any, tmp_path: Path, make_small: Any
) -> None:
    _, _, best = learned
    found = inspect_run(menu_of("bits:weight_bits=3/5"), make_small("random"), best, tmp_path)
    assert set(found.left_out) == {"curves", "ablations"}
    assert (found.curves, found.prices, found.ablations) == ((), (), ())
    assert found.layers and found.predictions


def test_the_solvers_plan_has_no_ablations_and_says_so(
    menu_of: Any, tmp_path: Path, make_small: Any
) -> None:
    feasible = menu_of()
    found = inspect_run(
        feasible, make_small("dp"), judged(feasible, feasible.allocation.plan, "F2"), tmp_path
    )
    assert found.left_out == {"ablations": "the plan is the exact solver's own"}
    assert found.ablations == () and found.policy is None and found.study is None
    assert found.predictions is not None and found.predictions.n == 120  # the whole split


@pytest.mark.parametrize(
    ("space", "budgets"),
    [
        ("joint:levels=6,weight_bits=2/4/8", "size=30%,macs=60%"),
        ("coefficients:menu=joint,levels=6,weight_bits=2/4/8", ""),
        ("structured:levels=4", "macs=50%"),
        ("structured:levels=4", "macs=60%,size=60%"),
        ("rank:ranks=4", "params=60%"),
    ],
)
def test_any_budgets_and_spaces(
    menu_of: Any, space: str, budgets: str, tmp_path: Path, make_small: Any
) -> None:
    feasible = menu_of(space, budgets)
    found = inspect_run(feasible, make_small("random"), judged(feasible, other(feasible)), tmp_path)
    assert found.left_out == {}
    assert found.cost == feasible.problem.budgets[0].cost
    assert found.unit == feasible.problem.costs[found.cost].unit
    assert len(found.ablations) >= 1 and len(found.curves) == len(feasible)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_study_in_the_folder_is_read(menu_of: Any, tmp_path: Path, make_small: Any) -> None:
    feasible = menu_of()
    agent: Any = make_small("tpe", storage=str(tmp_path / STUDY))
    best = best_of(agent.search(SearchTask.of(feasible.problem, feasible.space, 9, 0)).outcomes)
    assert best is not None
    for given in (agent, make_small("tpe")):  # by its own storage, or by the folder
        found = inspect_run(feasible, given, best, tmp_path).study
        assert found is not None and found.sampler == "TPE"
        assert len(found.parameters) == 2 * len(feasible)
    found = inspect_run(feasible, make_small("random"), best, tmp_path).study
    assert found is None
