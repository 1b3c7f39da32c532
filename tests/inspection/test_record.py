"""A run folder, read at once: complete, stopped, cut off, and beside its baselines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import autocomp
from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import RunError
from autocomp.inspection.findings import FILE, Findings
from autocomp.inspection.record import RunRecord
from autocomp.runs.folder import Run
from autocomp.runs.summary import Summary


def outcome(bits: int, accuracy: float, fidelity: str = "F1", within: bool = True) -> Outcome:
    plan = Plan({"a": Choice.of(weight_bits=bits)})
    return Outcome(plan, accuracy, 0.4, 3000, {"size": 10 * bits}, within, fidelity, 0.1, 0.0)


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    """A run of three evaluations that has no end."""
    run = Run.create(tmp_path / "r", "x", {"settings": {"seed": 3}, "fingerprints": {}})
    for one in (outcome(4, 0.5), outcome(8, 0.9, within=False), outcome(5, 0.7)):
        run.append(one)
    return run


@pytest.fixture(scope="module")
def complete(
    _trained_tiny: Any, tiny_data: Any, tmp_path_factory: pytest.TempPathFactory
) -> autocomp.Result:
    return autocomp.search(
        _trained_tiny, tiny_data, "size=12%", agent="random", space="bits", evaluations=3,
        out=tmp_path_factory.mktemp("record") / "r", report="none",
    )  # fmt: skip


def test_a_complete_run(complete: Any) -> None:
    record = RunRecord.read(complete.run.path)
    assert record.name == "r"
    assert record.config == complete.run.config()
    assert record.settings["space"] == "bits"
    assert record.outcomes == tuple(complete.run.outcomes())
    assert record.screened == complete.outcomes[:3]
    assert record.summary == Summary.from_json(complete.summary.to_json())
    assert record.best is not None
    assert (record.best.plan, record.best.fidelity) == (complete.plan, complete.best.fidelity)
    assert (record.findings, record.baselines, record.notes) == (None, {}, ())


def test_reading_writes_nothing(complete: Any) -> None:
    before = {file: file.read_bytes() for file in complete.run.path.iterdir()}
    RunRecord.read(complete.run.path)
    assert {file: file.read_bytes() for file in complete.run.path.iterdir()} == before


def test_a_stopped_run_says_so(stopped: Run) -> None:
    record = RunRecord.read(str(stopped.path))
    assert record.summary is None
    assert record.settings == {"seed": 3}
    assert len(record.outcomes) == len(record.screened) == 3
    assert record.best == outcome(5, 0.7)  # the best within budget
    (note,) = record.notes
    assert "stopped early" in note


def test_finalists_decide_where_there_are_any(stopped: Run) -> None:
    for one in (outcome(4, 0.6, "F2"), outcome(5, 0.55, "F2"), outcome(8, 0.99, "F2", False)):
        stopped.append(one)
    record = RunRecord.read(stopped.path)
    assert record.best == outcome(4, 0.6, "F2")
    assert len(record.outcomes) == 6 and len(record.screened) == 3


@pytest.mark.parametrize("tail", ['{"accuracy": 0.5, "lo', "{", "\x00\x00"])
def test_a_line_that_was_cut_off_is_noted(stopped: Run, tail: str) -> None:
    assert not stopped.is_cut_off()
    with (stopped.path / "outcomes.jsonl").open("a") as file:
        file.write(tail)
    assert stopped.is_cut_off()
    record = RunRecord.read(stopped.path)
    assert len(record.outcomes) == 3
    assert any("was cut off" in note for note in record.notes)
    assert stopped.is_cut_off()  # and is still there
    stopped.repair()
    assert not stopped.is_cut_off()


def test_a_run_without_outcomes_has_no_best(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "x", {"settings": {}, "fingerprints": {}})
    assert not run.is_cut_off()
    record = RunRecord.read(run.path)
    assert (record.best, record.outcomes) == (None, ())


def test_a_run_whose_outcomes_are_gone_is_refused_in_one_line(stopped: Run) -> None:
    (stopped.path / "outcomes.jsonl").unlink()
    assert not stopped.is_cut_off()
    with pytest.raises(RunError, match="readable outcomes.jsonl") as caught:
        RunRecord.read(stopped.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"), ("config.json", '{"format": 99}'), ("summary.json", "{"),
        ("summary.json", '{"evaluations": 3}'), (FILE, "{"), ("outcomes.jsonl", "x\n{}\n"),
        ("baseline-random.jsonl", "x\n"),
    ],
)  # fmt: skip
def test_damage_is_named_in_one_line(name: str, text: str, stopped: Run) -> None:
    (stopped.path / name).write_text(text)
    with pytest.raises(RunError) as caught:
        RunRecord.read(stopped.path)
    assert "\n" not in str(caught.value)


def test_findings_are_read_with_it(stopped: Run) -> None:
    found = Findings("k", "F1", "size", "bytes", ())
    found.write(stopped.path)
    assert RunRecord.read(stopped.path).findings == found
    values = json.loads((stopped.path / FILE).read_text())
    (stopped.path / FILE).write_text(json.dumps({**values, "format": 0}))
    assert RunRecord.read(stopped.path).findings is None


def test_baselines_are_kept_by_agent(stopped: Run) -> None:
    assert stopped.baselines() == {} and not stopped.has_baseline("random")
    first = (outcome(4, 0.5), outcome(5, 0.25))
    stopped.write_baseline("random", first)
    stopped.write_baseline("uniform", ())
    assert stopped.has_baseline("random") and not stopped.has_baseline("tpe")
    assert stopped.baselines() == {"random": first, "uniform": ()}
    stopped.write_baseline("random", first[:1])  # all of it is replaced
    assert RunRecord.read(stopped.path).baselines == {"random": first[:1], "uniform": ()}


def test_baselines_with_options_have_names_that_files_can_have(stopped: Run) -> None:
    name = "tpe:starts=2,startup=3/../x"
    stopped.write_baseline(name, (outcome(4, 0.5),))
    assert stopped.has_baseline(name)
    assert len(stopped.baselines()) == 1
    names = {file.name for file in stopped.path.iterdir()}
    assert names == {"config.json", "outcomes.jsonl", "baseline-tpe-starts=2-startup=3-..-x.jsonl"}


def test_a_moved_run_is_read_under_its_new_name(complete: Any, tmp_path: Path) -> None:
    shutil.copytree(complete.run.path, tmp_path / "moved")
    assert RunRecord.read(tmp_path / "moved").name == "moved"
