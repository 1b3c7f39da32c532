"""Searches whose plans are judged as what is handed back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from autocomp.search_spaces import FeasibleSpace, make_space

import autocomp
from autocomp.core.fidelity import Fidelity
from autocomp.errors import AutocompError
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.training import TrainingConfig


@pytest.mark.parametrize("level", ["F2S", "F3"])
def test_a_search_at_a_level_hands_back_what_it_judged(tmp_path: Path, level: str) -> None:
    found = autocomp.search(
        "digits", "digits", "size=8%", agent="posterior", evaluations=3, level=level,
        space="bits:weight_bits=2/4",
        tuning="steps=10", finalists=1, report="none", threads=1, progress=False,
        out=tmp_path / "run",
    )  # fmt: skip
    levels = {o.fidelity.value for o in found.outcomes}
    assert levels == {"F1", level}  # nothing is scored as the tables have it
    assert found.best.fidelity == Fidelity.of(level)
    assert found.summary.compressed["size"] <= found.summary.limits["size"]
    assert (tmp_path / "run" / "model.safetensors").stat().st_size <= found.summary.limits["size"]
    again = autocomp.resume(tmp_path / "run")
    assert again.plan == found.plan


def test_screening_reconstructs_on_the_search_images() -> None:
    """The same network at F1 and at F2S, where F1 has all search images."""
    reconstructed = ProblemSettings(screening=Fidelity.RECONSTRUCTED)
    problem = CompressionProblem(_digits(), "digits", "size=8%", reconstructed)
    plain = CompressionProblem(_digits(), "digits", "size=8%")
    feasible = FeasibleSpace.build(plain, make_space("bits:weight_bits=2/4"))
    plan = feasible.plan(feasible.allocation.plan)
    screened, whole = problem.evaluate(plan), plain.evaluate(plan, "F2S")
    assert screened.fidelity is Fidelity.SCREEN
    assert screened.gap == pytest.approx(whole.gap, rel=1e-4)
    assert screened.costs == whole.costs
    assert plain.evaluate(plan).gap != pytest.approx(whole.gap, rel=1e-2)
    tuned = CompressionProblem(
        _digits(), "digits", "size=8%",
        ProblemSettings(screening=Fidelity.TUNED, tuning=TrainingConfig(steps=5)),
    )  # fmt: skip
    assert tuned.evaluate(plan).costs["size"] <= tuned.limits["size"]


def test_reconstructed_plans_are_made_again_when_they_were_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autocomp.problem.subnet._KEPT", 1)
    problem = CompressionProblem(_digits(), "digits", "size=8%")
    feasible = FeasibleSpace.build(problem, make_space("bits:weight_bits=2/4"))
    first = feasible.plan(feasible.allocation.plan)
    second = feasible.plan(feasible.names.even())
    model, data = problem.compressed(first, "F2S")
    problem.compressed(second, "F2S")
    again, same = problem.compressed(first, "F2S")
    assert data == same
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(model(images), again(images))


def test_a_run_of_before_goes_on_in_its_own_order(tmp_path: Path) -> None:
    """Outcomes of 0.4 have no gap; new ones beside them are ranked as they are."""
    run = tmp_path / "run"
    autocomp.search(
        "digits", "digits", "size=8%", agent="posterior", evaluations=6, report="none", threads=1,
        space="bits:weight_bits=2/4", progress=False, out=run,
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "outcomes.jsonl").read_text().splitlines()][:3]
    for values in lines:
        values.pop("gap")
    (run / "outcomes.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    config = json.loads((run / "config.json").read_text())
    config["settings"].pop("level")
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").unlink()
    again = autocomp.resume(run)
    screened = [o for o in again.outcomes if o.fidelity is Fidelity.SCREEN]
    assert len(screened) > 3 and {o.gap for o in screened} == {None}
    assert all(o.merit == -o.divergence for o in screened)


def test_levels_that_judge_nothing_are_refused(tmp_path: Path) -> None:
    for level in ("F0", "F2", "x"):
        with pytest.raises(AutocompError, match="level"):
            autocomp.search("digits", "digits", level=level, out=tmp_path / "run")


def _digits() -> torch.nn.Module:
    return build_model("digits")
