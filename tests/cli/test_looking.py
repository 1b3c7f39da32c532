"""`report`, `inspect`, `compare` and `train-policy`: output, exit codes, one line for bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autocomp
from autocomp.cli.main import main
from autocomp.inspection.findings import FILE, Findings
from autocomp.reports.files import REPORT
from autocomp.runs.folder import Run

Command = Callable[..., tuple[int, str, str]]
SETTINGS: dict[str, Any] = {
    "budget": "size=12%", "evaluations": 3, "finalists": 1, "reconstructions": 0,
    "search_images": 100, "report": "none", "space": "joint:levels=5,weight_bits=2/4/8",
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(digits_weights: Path) -> Path:
    return digits_weights


@pytest.fixture(scope="module")
def finished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of the same network, which nobody looked into."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        autocomp.search(
            "digits", "digits", agent="random", seed=seed, weights=weights,
            out=folder / f"r{seed}", **SETTINGS,
        )  # fmt: skip
    return [folder / "r0", folder / "r1"]


@pytest.fixture
def run(finished: list[Path], tmp_path: Path) -> Path:
    """A copy of the first run, to write into."""
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def of_objects(tiny_net: Any, tiny_data: Any, tmp_path: Path) -> Path:
    """A run whose network and data were Python objects."""
    autocomp.search(tiny_net, tiny_data, agent="random", out=tmp_path / "objects", **SETTINGS)
    return tmp_path / "objects"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(found: tuple[int, str, str], words: str) -> None:
    code, out, err = found
    assert (code, out) == (2, "")
    assert err.startswith("autocomp: error: ") and err.count("\n") == 1
    assert words in err


# ---- report


def test_report_finds_out_and_runs_baselines(command: Command, run: Path) -> None:
    code, out, err = command("report", run)
    assert (code, err) == (0, "")
    assert out == f"Report: {run / REPORT}\n"
    assert (run / REPORT).read_text().startswith("<!")
    assert Findings.read(run) is not None
    assert set(Run.open(run).baselines()) == {"uniform", "random"}


@pytest.mark.parametrize(
    ("given", "names"), [("none", set()), ("", set()), (" random , ", {"random"})]
)
def test_report_runs_the_baselines_that_are_named(
    given: str, names: set[str], command: Command, run: Path
) -> None:
    assert command("report", run, "--baselines", given)[0] == 0
    assert set(Run.open(run).baselines()) == names


def test_plain_reports_need_no_network(command: Command, run: Path, weights: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["settings"]["weights"] = str(run / "nowhere.safetensors")
    (run / "config.json").write_text(json.dumps(config))
    code, out, _ = command("report", run, "--plain")
    assert (code, out) == (0, f"Report: {run / REPORT}\n")
    assert not (run / FILE).exists() and Run.open(run).baselines() == {}
    refused(command("report", run, "--baselines", "none"), "nowhere.safetensors")


def test_a_run_of_objects_is_reported_on_from_its_record(
    command: Command, of_objects: Path
) -> None:
    code, out, err = command("report", of_objects)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("Of the record only: The run was started with its model given")
    assert second == f"Report: {of_objects / REPORT}"
    assert (of_objects / REPORT).exists() and not (of_objects / FILE).exists()


def test_an_unknown_baseline_is_refused(command: Command, run: Path) -> None:
    refused(command("report", run, "--baselines", "randon"), "Did you mean 'random'")


# ---- inspect


def test_inspect_shows_a_run_at_a_glance(command: Command, run: Path) -> None:
    code, out, err = command("inspect", run)
    assert (code, err) == (0, "")
    summary = Run.open(run).summary()
    assert summary is not None
    for layer in summary["layers"]:
        assert layer["name"] in out
    for words in ("Run run", "complete", f"{summary['compressed']['size']:,}", "3 of 3"):
        assert words in out
    assert "`autocomp report` does" in out and "Marginal prices" not in out
    assert "…" not in out
    assert {file.name for file in run.iterdir()} & {REPORT, FILE} == set()  # nothing is written

    assert command("report", run, "--baselines", "none")[0] == 0
    _, out, _ = command("inspect", run)
    assert "Marginal prices" in out and "Predictions on" in out
    assert "`autocomp report` does" not in out


def test_inspect_shows_one_layer(command: Command, run: Path) -> None:
    command("report", run, "--baselines", "none")
    summary = Run.open(run).summary()
    assert summary is not None
    layers = [layer["name"] for layer in summary["layers"]]
    code, out, err = command("inspect", run, "--layer", layers[1])
    assert (code, err) == (0, "")
    assert f"Layer {layers[1]}" in out and "Error curve" in out
    assert f"Layer {layers[0]}" not in out
    refused(command("inspect", run, "--layer", layers[1] + "x"), f"Did you mean {layers[1]!r}")


def test_inspect_prints_json(command: Command, run: Path) -> None:
    for known in (False, True):
        if known:
            command("report", run)
        code, out, err = command("inspect", run, "--json")
        assert (code, err) == (0, "")
        values = json.loads(out, parse_constant=pytest.fail)  # no NaN, no Infinity
        assert values["name"] == "run" and values["complete"] is True
        assert values["outcomes"]["evaluations"] == 3
        assert values["summary"] == Run.open(run).summary()
        assert (values["findings"] is None) != known
        assert set(values["baselines"]) == ({"uniform", "random"} if known else set())


def test_a_stopped_run_is_inspected(command: Command, run: Path) -> None:
    (run / "summary.json").unlink()
    with (run / "outcomes.jsonl").open("a") as file:
        file.write('{"accuracy": 0.')
    code, out, _ = command("inspect", run)
    assert code == 0
    assert "stopped early" in out and "was cut off" in out
    code, out, _ = command("inspect", run, "--json")
    assert code == 0 and json.loads(out)["complete"] is False


# ---- compare


def test_compare_shows_runs_and_writes_a_page(
    command: Command, finished: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = command("compare", *finished, "--out", tmp_path / "deep" / "c.html")
    assert (code, err) == (0, "")
    assert out.endswith(f"Page: {tmp_path / 'deep' / 'c.html'}\n")
    assert (tmp_path / "deep" / "c.html").read_text().startswith("<!")
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("compare", *finished)
    assert code == 0 and out.endswith("Page: comparison.html\n")
    assert Path("comparison.html").exists()


def test_compare_prints_json_and_writes_nothing(
    command: Command, finished: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = command("compare", *finished, "--json")
    assert (code, err) == (0, "")
    (group,) = json.loads(out)["groups"]
    assert group["size"]["n"] == len(group["runs"]) == 2
    assert not list(tmp_path.iterdir())


def test_runs_of_other_networks_are_not_compared(
    command: Command, finished: list[Path], of_objects: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.html"
    refused(command("compare", finished[0], of_objects, "--out", out), "network")
    assert not out.exists()


def test_one_run_is_no_comparison(command: Command, finished: list[Path]) -> None:
    refused(command("compare", finished[0]), "at least 2 runs, but got 1")


def test_a_page_that_cannot_be_written_is_refused(
    command: Command, finished: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, _, err = command("compare", *finished, "--out", tmp_path / "file" / "c.html")
    assert code == 2 and err.count("\n") == 1
    assert "must be writable" in err


# ---- folders that are no runs

LOOKING = [("report",), ("report", "--plain"), ("inspect",), ("inspect", "--json"),
           ("inspect", "--layer", "a"), ("compare",), ("compare", "--json")]  # fmt: skip


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_a_folder_that_is_no_run_is_refused(
    words: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *rest = words
    refused(command(first, tmp_path / "nowhere", *rest), "readable config.json")
    (tmp_path / "r").mkdir()
    refused(command(first, tmp_path / "r", *rest), "readable config.json")
    (tmp_path / "r" / "config.json").write_text('{"format": 99, "settings": {}}')
    refused(command(first, tmp_path / "r", *rest), "must have format 1")
    assert [file.name for file in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("words", LOOKING[1:], ids=" ".join)  # `report` looks at the network first
def test_a_run_without_outcomes_is_refused(
    words: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *rest = words
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_text('{"format": 1, "settings": {}, "fingerprints": {}}')
    refused(command(first, tmp_path / "r", *rest), "outcomes.jsonl")
    (tmp_path / "r" / "outcomes.jsonl").write_bytes(b"\xff\n")
    refused(command(first, tmp_path / "r", *rest), "outcomes.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("words", [("inspect",), ("report", "--plain"), ("compare",)], ids=" ".join)
@pytest.mark.parametrize("name", [FILE, "summary.json", "outcomes.jsonl", "baseline-random.jsonl"])
def test_damage_is_named_in_one_line(
    name: str, words: tuple[str, ...], command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    (run / name).write_text("{\n{\n")
    refused(command(words[0], run, *words[1:]), name)


def test_a_damaged_look_is_made_again(command: Command, run: Path) -> None:
    """What the message says must work: delete the file, and make the report again."""
    (run / FILE).write_text("{")
    (run / FILE).unlink()
    assert command("report", run, "--baselines", "none")[0] == 0
    assert Findings.read(run) is not None


# ---- resume tells of the report


def test_resuming_a_complete_run_names_its_report(command: Command, run: Path) -> None:
    assert "Report:" not in command("resume", run)[1]
    command("report", run, "--plain")
    code, out, _ = command("resume", run)
    assert code == 0
    assert f"Report: {run / REPORT}" in out


# ---- train-policy


def train(command: Command, weights: Path, out: Path, *more: str) -> tuple[int, str, str]:
    arguments = [
        "--problem", "digits", str(weights), "digits", "--budget", "size=12%..30%",
        "--budgets", "2", "--agent", "ppo", "--space", "bits", "--episodes", "10",
        "--level", "F0", "--out", str(out),
    ]  # fmt: skip
    return command("train-policy", *arguments, *more)


def test_train_policy_tells_of_problems_and_its_folder(
    command: Command, weights: Path, tmp_path: Path
) -> None:
    code, out, err = train(command, weights, tmp_path / "p")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "episode 1/10 problem 1: +0.0%"
    assert sum(line.startswith("episode ") for line in lines) == 10
    assert "problem 1, digits at size=30%: " in lines[10]
    assert "problem 2, digits at size=12%: " in lines[11]
    assert lines[12].startswith("Scaled to ") and "of its action" in lines[12]
    assert lines[13] == f"Policy: {tmp_path / 'p'}"
    assert json.loads((tmp_path / "p" / "training.json").read_text())["problems"] == [
        ["digits", str(weights), "digits"]
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--agent", "tpe"), "learning agent"),
        (("--budget", "size=9"), "COST=LEAST..LARGEST"),
        (("--episodes", "1"), "each of the 2 tasks"),
        (("--level", "F2"), "invalid choice"),
        (("--problem", "digits", "-"), "expected 3 arguments"),
        (("--space", "jont"), "Did you mean 'joint'"),
        (("--problem", "resnet20", "-", "digits"), "--weights"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_one_line(
    more: tuple[str, ...], words: str, command: Command, weights: Path, tmp_path: Path
) -> None:
    refused(train(command, weights, tmp_path / "p", *more), words)
    assert not (tmp_path / "p").exists()


def test_train_policy_needs_a_new_folder(command: Command, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    refused(train(command, weights, tmp_path), "new or empty folder")
