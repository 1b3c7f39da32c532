"""Full disks, folders that cannot be written, signals: nothing is lost, and one line says it."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import autocomp
from autocomp.cli.main import main
from autocomp.data.splits import DataSplits
from autocomp.errors import AutocompError
from autocomp.runs.folder import Run

ROOT = Path(__file__).parents[2]
SEARCH: dict[str, Any] = {"agent": "tpe", "space": "bits", "evaluations": 6, "budget": "size=20%"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/full")


@contextmanager
def full_disk(name: str) -> Iterator[None]:
    """Lets the disk be full when a file of this name is written."""

    def fsync(handle: int) -> None:
        if f"/.{name}." in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def one_line(error: BaseException) -> None:
    assert "\n" not in str(error) and len(str(error)) <= 1000


def untimed(run: Run) -> tuple[Any, ...]:
    """Returns what a finished run holds, but for times."""
    outcomes = [{**o.to_json(), "seconds": 0} for o in run.outcomes()]
    summary = {**(run.summary() or {}), "seconds": 0}
    return outcomes, summary, (run.path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, ...]:
    out = tmp_path_factory.mktemp("unbroken") / "r"
    return untimed(autocomp.search(_trained_tiny, tiny_data, out=out, report="none", **SEARCH).run)


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors", "summary.json"])
def test_a_full_disk_while_a_file_is_written(
    name: str, _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path,
    unbroken: tuple[Any, ...],
) -> None:  # fmt: skip
    out = tmp_path / "r"
    with full_disk(name), pytest.raises(AutocompError, match="No space left on device") as caught:
        autocomp.search(_trained_tiny, tiny_data, out=out, report="none", **SEARCH)
    one_line(caught.value)
    assert name in str(caught.value) and f"autocomp resume {out}" in str(caught.value)
    assert not list(out.glob(".*"))  # no lock, and nothing half-written
    found = autocomp.resume(out, model=_trained_tiny, data=tiny_data)
    assert untimed(found.run) == unbroken


def test_a_full_disk_while_outcomes_are_written(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path, unbroken: tuple[Any, ...]
) -> None:
    out, kept = tmp_path / "r", tmp_path / "kept.jsonl"
    file = out / "outcomes.jsonl"

    def fill(outcome: Any) -> None:
        if not file.is_symlink() and len(file.read_text().splitlines()) == 2:
            file.rename(kept)
            file.symlink_to("/dev/full")

    with pytest.raises(AutocompError, match=r"outcomes\.jsonl' \(No space left") as caught:
        autocomp.search(_trained_tiny, tiny_data, out=out, report="none", on_outcome=fill, **SEARCH)
    one_line(caught.value)
    file.unlink()
    kept.rename(file)
    found = autocomp.resume(out, model=_trained_tiny, data=tiny_data)
    assert untimed(found.run) == unbroken


def test_a_full_disk_before_anything_leaves_nothing(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    with full_disk("config.json"), pytest.raises(AutocompError, match="must be writable"):
        autocomp.search(_trained_tiny, tiny_data, out=tmp_path / "a" / "b", **SEARCH)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["report.html", "inspection.json"])
def test_a_report_that_cannot_be_written_is_a_warning(
    name: str, _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    with full_disk(name), pytest.warns(RuntimeWarning, match="could not be written"):
        found = autocomp.search(_trained_tiny, tiny_data, out=tmp_path / "r", **SEARCH)
    assert found.run.summary() is not None
    with full_disk(name), pytest.raises(AutocompError, match="No space left") as caught:
        autocomp.report(found.run.path, model=_trained_tiny, data=tiny_data)
    one_line(caught.value)


def test_what_cannot_be_written(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    """/proc takes no files, whoever asks."""
    given: dict[str, Any] = {**SEARCH, "report": "none", "evaluations": 1, "agent": "dp"}
    found = autocomp.search(_trained_tiny, tiny_data, out=tmp_path / "1", **given)
    autocomp.search(_trained_tiny, tiny_data, out=tmp_path / "2", seed=1, **given)
    calls = [
        lambda: autocomp.search(_trained_tiny, tiny_data, out="/proc/no", **given),
        lambda: autocomp.compare([tmp_path / "1", tmp_path / "2"], out="/proc/no.html"),
        lambda: autocomp.save(found.model, "/proc/no.safetensors"),
        lambda: autocomp.load("/proc/self/mem", model=_trained_tiny),
        lambda: autocomp.load("/", model=_trained_tiny),
        lambda: autocomp.resume("/proc"),
        lambda: autocomp.report(tmp_path),
    ]
    for call in calls:
        with pytest.raises(AutocompError) as caught:
            call()
        one_line(caught.value)
    # a cache that cannot be kept costs time, never a search
    autocomp.search(_trained_tiny, tiny_data, out=tmp_path / "3", cache="/proc/no", **given)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000, "\udcff", "null", '{"format": 1}'])
def test_config_files_of_any_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    for call in (autocomp.resume, autocomp.report, autocomp.export):
        with pytest.raises(AutocompError) as caught:
            call(tmp_path)  # type: ignore[operator]
        one_line(caught.value)
    assert main(["inspect", str(tmp_path)]) == 2


def test_the_loser_is_told_who_holds_the_folder(
    _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    told: list[str] = []

    def second(outcome: Any) -> None:
        if not told:
            code = (
                "import sys; sys.path.insert(0, sys.argv[1]); import autocomp\n"
                "try: autocomp.search('digits', 'digits', out=sys.argv[2], agent='dp', "
                "space='bits', evaluations=1)\n"
                "except autocomp.AutocompError as error: print(error)"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(ROOT), str(out)], capture_output=True, text=True,
                check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            told.append(done.stdout + done.stderr)

    autocomp.search(_trained_tiny, tiny_data, out=out, report="none", on_outcome=second, **SEARCH)
    assert re.fullmatch(r"A run is written by one process, but another one holds .*\n", told[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129),
                                              (signal.SIGINT, 130)])  # fmt: skip
def test_signals_stop_a_search_as_an_interrupt_does(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "r"
    words = [
        "search", "--agent", "tpe", "--space", "joint:levels=5,weight_bits=3/4/6", "-n", "400",
        "--budget", "size=8%", "--out", str(out), "--report", "plain",
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "autocomp", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        # a shell that runs the tests in its background has interrupts ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 120)
            assert ready and process.stdout.readline().startswith("search ")
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert errors.count("\n") == 1 and "stopped" in errors
    assert not list(out.glob(".*")) and (out / "report.html").exists()
    lines = (out / "outcomes.jsonl").read_text().splitlines()
    assert lines and all(json.loads(line) for line in lines)
