"""kill -9 at any moment, and `resume` arrives where an unbroken search does.

Searches run in forked children, which say through a pipe what they have announced.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from optuna.storages.journal import JournalFileSymlinkLock
from torch import nn

from autocomp.api.report import report
from autocomp.api.resume import resume
from autocomp.api.search import search
from autocomp.api.session import Result
from autocomp.cli.main import main
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.data.splits import DataSplits
from autocomp.errors import RunError
from autocomp.runs.folder import Run

DDPG = "ddpg:width=16,clone_steps=20,pretrain_steps=20,updates=2"
AGENTS = ("tpe", DDPG, "ppo:width=16,clone_steps=20", "local")
KILLS = 5
"""Kills at random moments, for each agent."""
EVALUATIONS = 10
LIMIT = 60.0
"""Seconds after which a child hangs."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

Patch = Callable[[pytest.MonkeyPatch], None]
"""Arranges in a child when it kills itself."""


def die(*_: Any, **__: Any) -> NoReturn:
    """Kills this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Child:
    """A forked process; every outcome that it announces comes through a pipe.

    Args:
        job: what it does, given what it has to call for each outcome.
        patch: called in the child beforehand.
    """

    def __init__(
        self, job: Callable[[Callable[[Outcome], None]], Any], patch: Patch | None = None
    ) -> None:
        self._pipe, pipe = os.pipe()
        self.announced = 0
        self.pid = os.fork()
        if self.pid:
            os.close(pipe)
            return
        code = 1
        try:
            if patch is not None:
                patch(pytest.MonkeyPatch())
            job(lambda outcome: os.write(pipe, b"." * (outcome.fidelity == "F1")))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def killed(self, after: float | None = None) -> bool:
        """Kills it `after` some seconds, if at all; returns whether it was killed, not done."""
        ended = self._read(LIMIT if after is None else after)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
            self._read(LIMIT)  # what it had announced before it was killed
        os.close(self._pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert ended or after is not None, f"the child hung; it had announced {self.announced}"
        assert code in (0, -signal.SIGKILL), "the child failed; see its traceback"
        return code != 0

    def _read(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            found = os.read(self._pipe, 4096)
            if not found:
                return True
            self.announced += len(found)
        return False


@dataclass
class Trial:
    """An agent's search: whole, for reference, and in pieces."""

    agent: str
    model: nn.Module
    data: DataSplits
    reference: Result
    seconds: float

    def go_on(self, out: Path, on_outcome: Callable[[Outcome], None] | None = None) -> Result:
        """Resumes the run in `out`, or starts it if there is none."""
        if (out / "config.json").exists():
            return resume(out, model=self.model, data=self.data, on_outcome=on_outcome)
        return _search(self.agent, self.model, self.data, out, on_outcome)

    def kill(self, out: Path, after: float | None = None, patch: Patch | None = None) -> bool:
        """Goes on in a child that is killed; nothing that it announced may be missing."""
        child = Child(partial(self.go_on, out), patch)
        killed = child.killed(after)
        kept = _kept(out)
        assert child.announced <= len(kept)
        assert kept == self.expected[: len(kept)]
        if (out / "plan.json").exists():
            plan = Plan.from_json(json.loads((out / "plan.json").read_text()))
            assert plan in {o.plan for o in kept}
        return killed

    @property
    def expected(self) -> list[Outcome]:
        """The reference's outcomes, but for their seconds."""
        return [replace(o, seconds=0.0) for o in self.reference.outcomes]

    def check(self, out: Path) -> None:
        """Goes on to the end, which must be the reference's."""
        heard: list[Outcome] = []
        before = _kept(out)
        result = self.go_on(out, heard.append)
        assert [replace(o, seconds=0.0) for o in result.outcomes] == self.expected
        assert [replace(o, seconds=0.0) for o in heard] == self.expected
        assert _kept(out)[: len(before)] == before
        self.check_files(out)

    def check_files(self, out: Path) -> None:
        """The folder must hold what the reference's holds, but for what agents keep."""
        assert _kept(out) == self.expected
        whole = self.reference.run.path
        assert _names(out) == _names(whole)
        for name in ("model.safetensors", "plan.json"):
            assert (out / name).read_bytes() == (whole / name).read_bytes()
        first, second = Run.open(out).summary(), Run.open(whole).summary()
        assert first is not None and second is not None
        assert {**first, "seconds": 0} == {**second, "seconds": 0}


def _search(
    agent: str, model: nn.Module, data: DataSplits, out: Path,
    on_outcome: Callable[[Outcome], None] | None = None, report: str = "none",
) -> Result:  # fmt: skip
    return search(
        model, data, "size=60%", agent=agent, evaluations=EVALUATIONS, seed=3, finalists=2,
        space="joint:levels=6,weight_bits=2/3/4/6/8", out=out, on_outcome=on_outcome, report=report,
    )  # fmt: skip


def _kept(out: Path) -> list[Outcome]:
    """Returns the outcomes of the whole lines, but for their seconds."""
    file = out / "outcomes.jsonl"
    found = Run(out).outcomes() if file.exists() else []
    if found:
        assert len(found) == file.read_bytes().count(b"\n")
    return [replace(o, seconds=0.0) for o in found]


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def tables(_trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path_factory: Any) -> None:
    """Makes the option tables, so that every reference takes as long as what is killed."""
    _search("local", _trained_tiny, tiny_data, tmp_path_factory.mktemp("warm") / "r")


@pytest.fixture(scope="module")
def trial_of(
    tables: None, _trained_tiny: nn.Module, tiny_data: DataSplits, tmp_path_factory: Any
) -> Callable[[str], Trial]:
    """Makes the trial of an agent; its reference is searched once."""

    @cache
    def made(agent: str) -> Trial:
        start = time.monotonic()
        out = tmp_path_factory.mktemp("whole") / "whole"
        reference = _search(agent, _trained_tiny, tiny_data, out)
        return Trial(agent, _trained_tiny, tiny_data, reference, time.monotonic() - start)

    return made


@pytest.fixture(params=AGENTS)
def trial(request: pytest.FixtureRequest, trial_of: Callable[[str], Trial]) -> Trial:
    return trial_of(request.param)


@pytest.fixture
def local(trial_of: Callable[[str], Trial]) -> Trial:
    return trial_of("local")


def test_kills_at_random_moments_lose_nothing(trial: Trial) -> None:
    rng = random.Random(f"kill {trial.agent}")
    kills = 0
    for out in _folders():
        while kills < KILLS and trial.kill(out, rng.uniform(0, trial.seconds)):
            kills += 1
            if rng.random() < 0.5:
                break  # else what goes on is killed, too
        if Run(out).summary() is None:
            trial.check(out)
        (out / ".lock").unlink(missing_ok=True)  # left by a kill behind the summary
        trial.check_files(out)
        if kills == KILLS:
            break


def _folders() -> Iterator[Path]:
    for number in range(3 * KILLS):
        yield Path(str(number))
    raise AssertionError("the searches ended before they were killed")


def at_call(thing: Any, name: str, number: int, before: Patch | Callable[..., None]) -> Patch:
    """Makes call `number` of `thing.name` run `before(...)`, then die."""

    def arrange(patch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(thing, name), 0

        def replacement(*given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                before(*given, **more)
                die()
            return original(*given, **more)

        patch.setattr(thing, name, replacement)

    return arrange


def at_rename(target: str, behind: bool = False) -> Patch:
    """Dies between a temporary file and its rename to `target`, or right behind it."""

    def arrange(patch: pytest.MonkeyPatch) -> None:
        original = Path.replace

        def replacement(self: Path, path: Path) -> Path:
            if not Path(path).match(target):
                return original(self, path)
            if behind:
                original(self, path)
            die()

        patch.setattr(Path, "replace", replacement)

    return arrange


def half_a_line(run: Run, outcome: Outcome) -> None:
    with (run.path / "outcomes.jsonl").open("a") as file:
        file.write('{"plan":{"0":{"sparsity":0.')


def nothing(*_: Any, **__: Any) -> None:
    pass


MOMENTS: dict[str, Patch] = {
    "the first line half-written": at_call(Run, "append", 1, half_a_line),
    "a line half-written": at_call(Run, "append", 4, half_a_line),
    "the last evaluation's line half-written": at_call(Run, "append", EVALUATIONS, half_a_line),
    "a finalist's line half-written": at_call(Run, "append", EVALUATIONS + 1, half_a_line),
    "before the first evaluation": at_call(Run, "repair", 1, nothing),
    "right after the last evaluation": at_call(Run, "append", EVALUATIONS, Run.append),
    "right after the last finalist": at_call(Run, "write_model", 1, nothing),
    "a plan between its file and its name": at_rename("plan.json"),
    "the model between its file and its name": at_rename("model.safetensors"),
    "right after the model": at_rename("model.safetensors", behind=True),
    "the summary between its file and its name": at_rename("summary.json"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_this_moment_loses_nothing(local: Trial, moment: str) -> None:
    out = Path("cut")
    assert local.kill(out, patch=MOMENTS[moment])
    # and once more, in the midst of the resume
    assert local.kill(out, patch=at_call(Run, "write_summary", 1, nothing))
    local.check(out)


def test_a_kill_while_a_cut_off_line_is_repaired_loses_nothing(local: Trial) -> None:
    out = Path("cut")
    assert local.kill(out, patch=MOMENTS["a line half-written"])
    before = (out / "outcomes.jsonl").read_bytes()
    assert local.kill(out, patch=at_rename("outcomes.jsonl"))
    assert (out / "outcomes.jsonl").read_bytes() == before
    local.check(out)


def test_a_kill_behind_the_summary_leaves_a_complete_run(
    local: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("cut")
    assert local.kill(out, patch=at_rename("summary.json", behind=True))
    assert (out / ".lock").exists()
    assert main(["resume", str(out)]) == 0
    assert "is complete" in " ".join(capsys.readouterr().out.split())
    local.check(out)  # a stale lock is no obstacle


@pytest.mark.parametrize("file", ["inspection.json", "report.html"])
def test_a_kill_while_the_report_is_written_leaves_a_complete_run(local: Trial, file: str) -> None:
    out = Path("cut")
    child = Child(
        lambda heard: _search("local", local.model, local.data, out, heard, report="full"),
        at_rename(file),
    )
    assert child.killed()
    assert Run(out).summary() is not None and not (out / file).exists()
    report(out, model=local.model, data=local.data)
    assert (out / file).exists()


def test_a_kill_while_tables_are_made_hinders_no_search(
    local: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    out = Path("cut")
    assert local.kill(out, patch=at_rename("tables-*/*/*.safetensors"))
    assert not out.exists()
    assert local.kill(out, patch=MOMENTS["a line half-written"])
    local.check(out)


@pytest.mark.parametrize("behind", [False, True])
def test_a_kill_while_the_folder_is_made_leaves_a_run_or_room_for_one(
    local: Trial, behind: bool
) -> None:
    out = Path("cut")
    assert local.kill(out, patch=at_rename("config.json", behind))
    if not behind:
        with pytest.raises(RunError, match="config.json"):
            resume(out, model=local.model, data=local.data)
    local.check(out)


@pytest.mark.parametrize("call", [1, 3, 20])
def test_a_kill_while_the_study_is_locked_hinders_no_resume(
    trial_of: Callable[[str], Trial], call: int
) -> None:
    # Optuna's lock is a link; in a relative folder it points nowhere, and is waited for for ever
    trial = trial_of("tpe")
    out = Path("cut")
    assert trial.kill(out, patch=at_call(JournalFileSymlinkLock, "release", call, nothing))
    assert (out / "agent.study.log.lock").is_symlink()
    assert not trial.kill(out)  # in a child, where a hang is seen
    trial.check_files(out)


@pytest.mark.parametrize("agent", ["tpe", DDPG])
def test_half_an_agents_file_hinders_no_resume(
    agent: str, trial_of: Callable[[str], Trial]
) -> None:
    trial = trial_of(agent)
    out = Path("cut")
    assert trial.kill(out, patch=at_call(Run, "write_summary", 1, nothing))
    (file,) = out.glob("agent.*")
    file.write_bytes(file.read_bytes()[:-40])
    trial.check(out)
    name = trial.reference.run.path / file.name
    assert abs(file.stat().st_size - name.stat().st_size) < 400
