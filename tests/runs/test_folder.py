"""The run folder: damage, locking, and lines cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import RunError
from autocomp.runs.folder import Run
from autocomp.storage.files import write_bytes


def outcome(accuracy: float = 0.5) -> Outcome:
    plan = Plan({"a": Choice.of(sparsity=0.5, weight_bits=4)})
    return Outcome(plan, accuracy, 1.5, 100, {"size": 10}, True, "F1", 0.25)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "r", "x", {"settings": {}, "fingerprints": {}})


def test_outcomes_come_back_as_they_were(run: Run) -> None:
    given = [outcome(0.1 + 0.2), outcome(1 / 3)]
    for one in given:
        run.append(one)
    assert run.outcomes() == given


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_last_line_cut_off_is_left_out_and_repaired(run: Run, cut: int) -> None:
    run.append(outcome())
    run.append(outcome())
    file = run.path / "outcomes.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    assert run.outcomes() == [outcome()] or cut == 1
    assert run.repair()
    assert run.outcomes() == [outcome()]
    assert not run.repair()


def test_a_damaged_line_in_the_middle_is_named(run: Run) -> None:
    (run.path / "outcomes.jsonl").write_text('{"x": 1}\n{}\n')
    with pytest.raises(RunError, match="Line 1"):
        run.outcomes()


def test_default_folders_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {Run.create(None, "net/../x y", {}).path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.parent == Path("runs") and ".." not in path.parts for path in paths)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(RunError, match="new or empty"):
            Run.create(path, "x", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_what_a_killed_process_leaves_of_a_new_folder_is_room_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "outcomes.jsonl").touch()
    (tmp_path / ".config.json.ab12.tmp").write_text("{")
    Run.create(tmp_path, "x", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "outcomes.jsonl"]


@pytest.mark.parametrize("name", ["outcomes.jsonl", ".other.tmp", "config.json"])
def test_anything_else_in_a_folder_is_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    (tmp_path / ".config.json.ab12.tmp").write_text("{")
    with pytest.raises(RunError, match="new or empty"):
        Run.create(tmp_path, "x", {})
    assert len(list(tmp_path.iterdir())) == 2


def test_repair_takes_away_what_a_killed_process_leaves(run: Run) -> None:
    run.append(outcome())
    before = sorted(p.name for p in run.path.iterdir())
    (run.path / ".plan.json.ab12.tmp").write_text("{")
    (run.path / "agent.study.log.lock").symlink_to("nowhere")
    (run.path / "agent.study.log.lock-1-2.rename").symlink_to("nowhere")
    assert not run.repair()
    assert sorted(p.name for p in run.path.iterdir()) == before


def test_outcomes_that_are_gone_are_named(run: Run) -> None:
    (run.path / "outcomes.jsonl").unlink()
    assert not run.repair() and not run.is_cut_off()
    with pytest.raises(RunError, match=r"outcomes\.jsonl"):
        run.outcomes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "config.json"),
        ("{", "config.json"),
        ("[]", "format"),
        ('{"format": 99}', "99"),
        ('{"format": 1, "settings": []}', "settings"),
        ('{"format": 1, "settings": {}, "fingerprints": 3}', "fingerprints"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=words):
        Run.open(tmp_path)


def test_a_run_is_written_by_one_process(run: Run) -> None:
    with run.locked(), pytest.raises(RunError, match="another one holds"), Run(run.path).locked():
        pass
    with run.locked():
        pass


def test_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "f", b"old")

    def fail(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(tmp_path / "f", b"new and longer")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_damaged_summary_is_named(run: Run) -> None:
    assert run.summary() is None
    (run.path / "summary.json").write_text("{")
    with pytest.raises(RunError, match="summary.json"):
        run.summary()


@pytest.mark.parametrize(
    ("space", "read"),
    [
        ("bits:activation_bits=4/8", "bits:activation_bits=4/8,output_bits=32"),
        ("bits:activation_bits=8,output_bits=6", "bits:activation_bits=8,output_bits=6"),
        ("joint", "joint"),
    ],
)
def test_a_run_from_before_rounded_outputs_goes_on_without_them(
    tmp_path: Path, space: str, read: str
) -> None:
    for more, wanted in (({}, read), ({"device_table": ""}, space)):
        config = {"format": 1, "settings": {"space": space, **more}, "fingerprints": {}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert Run(tmp_path).config()["settings"]["space"] == wanted
