"""Kills searches with SIGKILL at random moments and resumes them: prints a Markdown table.

    python benchmarks/kill.py                            # 200 kills over tpe, ddpg, ppo and local
    python benchmarks/kill.py --kills 40 --agents tpe    # fewer
    python benchmarks/kill.py --kills 60 --agents all    # every agent, each in another space

Each search is a process of its own, `python -m autocomp search`, on a copy of the checkout, so that
edits during a long benchmark change nothing. A third of the kills fall anywhere in the time that an
unbroken run takes, the others behind its first sign of searching. What goes on, `autocomp resume`
(or `search` into the same folder where there is no run yet), is killed in half of the cases, too.

Behind each kill `outcomes.jsonl` must hold every evaluation that a progress line had announced. A
finished run must equal the unbroken one: outcomes but for their seconds, best plan, summary, bytes
of the model; nothing else may be left. Ends with code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AGENTS = "tpe,ddpg,ppo,local"
ALL = ("ddpg@joint,td3@sparsity,sac@bits,ppo@nm,tpe@structured,nsga2@rank,cmaes@coefficients,"
       "local@joint,greedy@bits,random@full,ilp@joint,dp@structured,uniform@bits")  # fmt: skip
"""Each agent, in a space of its own, with a budget that this space meets on the digits."""
BUDGETS = {"structured": "macs=60%", "rank": "macs=80%", "sparsity": "size=60%", "full": "size=12%"}
PARTS = ("autocomp", "agents", "envs", "search_spaces", "pyproject.toml")
PHASES = ("start-up", "searching", "finishing")
COLUMNS = ("agent", "kills", *PHASES, "before there was a run", "evaluations announced", "kept",
           "lost", "resumes", "failed", "runs finished", "equal to the unbroken one")  # fmt: skip
_LINE = re.compile(rb"^search (\d+)/\d+ .*\n", re.MULTILINE)


@dataclass
class Place:
    """A copy of the checkout to run in.

    Attributes:
        folder: the copy; runs are made in `folder / "runs"`.
        settings: options of each search.
        evaluations: how many each search makes.
    """

    folder: Path
    settings: list[str]
    evaluations: int

    def environment(self) -> dict[str, str]:
        """Returns the variables of each process: one thread, a cache of its own."""
        return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120",
                "XDG_CACHE_HOME": str(self.folder / "cache")}  # fmt: skip

    def outcomes(self, run: str) -> list[dict[str, Any]]:
        """Returns the whole lines of a run's outcomes, but for their seconds."""
        file = self.folder / run / "outcomes.jsonl"
        lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]

    def summary(self, run: str) -> dict[str, Any] | None:
        """Returns a run's summary, but for its seconds; None if it is not complete."""
        file = self.folder / run / "summary.json"
        return {**json.loads(file.read_text()), "seconds": 0} if file.exists() else None


class Process:
    """`autocomp search` or `resume` in a process group of its own, and what it has printed."""

    def __init__(self, place: Place, agent: str, run: str) -> None:
        self._place, self._run = place, run
        self.resumes = (place.folder / run / "config.json").exists()
        command = ["resume", run]
        if not self.resumes:
            name, _, space = agent.partition("@")
            more = ["--budget", BUDGETS.get(space, "size=10%"), "--space", space or "joint"]
            command = ["search", "--agent", name, "--out", run, *place.settings, *more]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "autocomp", *command], cwd=place.folder,
            env=place.environment(), stdout=subprocess.PIPE, stderr=self._errors,
            start_new_session=True,
        )  # fmt: skip
        self._printed = b""
        self.start = time.monotonic()
        self.searching: float | None = None
        """When the first sign of searching was seen."""
        self.end = 0.0

    @property
    def seconds(self) -> dict[str, float]:
        """How long it took, from each origin of a moment."""
        assert self.searching is not None
        return {"start": self.end - self.start, "searching": self.end - self.searching}

    @property
    def announced(self) -> int:
        """The evaluations that progress lines had counted."""
        return max((int(n) for n in _LINE.findall(self._printed)), default=0)

    def killed(self, moment: tuple[str, float] | None, limit: float) -> bool | None:
        """Kills it at a moment; returns whether it was killed, or None if it hung.

        Args:
            moment: seconds behind its "start", or behind its first sign of "searching"; or None.
            limit: seconds after which it hangs.
        """
        hung = False
        while not self._read(0.003):
            now = time.monotonic()
            self._look(now)
            since = {"start": self.start, "searching": self.searching}
            hung = now - self.start > limit
            origin = since[moment[0]] if moment else None
            if hung or (moment and origin is not None and now - origin >= moment[1]):
                os.killpg(self._process.pid, signal.SIGKILL)
                while not self._read(1):  # what it had printed before
                    pass
                break
        self._process.wait()
        self.end = time.monotonic()
        return None if hung else self._process.returncode == -signal.SIGKILL

    def trouble(self) -> str:
        """Returns what went wrong in a process that ended by itself, or ""."""
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return "" if self._process.returncode == 0 else f"code {self._process.returncode}: {text}"

    def _look(self, now: float) -> None:
        begun = self._printed if self.resumes else self._place.folder / self._run / "config.json"
        if self.searching is None and (begun.exists() if isinstance(begun, Path) else begun):
            self.searching = now

    def _read(self, seconds: float) -> bool:
        """Reads what comes within some seconds; says whether the process ended."""
        pipe = self._process.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], seconds)[0]:
            return False
        found = os.read(pipe.fileno(), 65536)
        self._printed += found
        return not found


@dataclass
class Tally:
    """What happened to one agent's searches."""

    agent: str
    kills: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    unborn: int = 0
    announced: int = 0
    kept: int = 0
    lost: int = 0
    resumes: int = 0
    failed: int = 0
    finished: int = 0
    equal: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost."""
        return not self.lost and not self.failed and self.equal == self.finished

    def row(self) -> str:
        """Returns the row of the table."""
        return _row([
            self.agent, self.kills, *(self.phases[phase] for phase in PHASES), self.unborn,
            self.announced, self.kept, self.lost, self.resumes, self.failed, self.finished,
            self.equal,
        ])  # fmt: skip


class Trial:
    """One agent's unbroken run, and the runs that are killed.

    Args:
        place: where to run.
        agent: the agent.
        seed: of the random moments.
    """

    def __init__(self, place: Place, agent: str, seed: int) -> None:
        self.place, self.agent = place, agent
        self._rng = random.Random(f"{seed} {agent}")
        self.tally = Tally(agent)
        self.whole = f"runs/{agent}-whole"
        for run in (f"runs/{agent}-first", self.whole):  # the first one makes the option tables
            process = Process(place, agent, run)
            process.killed(None, 3600)
            if process.trouble():
                raise SystemExit(f"The unbroken run failed: {process.trouble()}")
        self._seconds = process.seconds
        self._limit = 10 * self._seconds["start"] + 60
        self._expected = place.outcomes(self.whole)
        _say(f"{agent}: an unbroken run takes {self._seconds['start']:.1f} s, "
             f"{self._seconds['searching']:.1f} s of it from its folder on")  # fmt: skip
        self._compare(f"runs/{agent}-first", {})

    def kill(self, kills: int) -> None:
        """Makes so many kills, and finishes every run."""
        number = 0
        while self.tally.kills < kills:
            number += 1
            self._chain(f"runs/{self.agent}-{number}", kills)

    def _chain(self, run: str, kills: int) -> None:
        """Starts a run, and goes on with it until it is finished."""
        state: dict[str, Any] = {"announced": 0, "kept": 0}
        for number in range(1000):
            moment = None
            if self.tally.kills < kills and (not number or self._rng.random() < 0.5):
                origin = "start" if self._rng.random() < 1 / 3 else "searching"
                moment = (origin, self._rng.uniform(0, self._seconds[origin]))
            process = Process(self.place, self.agent, run)
            self.tally.resumes += number > 0
            killed = process.killed(moment, self._limit)
            if killed:
                self._count(run, process, state)
                continue
            trouble = "it hung" if killed is None else process.trouble()
            if trouble:
                self.tally.failed += 1
                _say(f"{run} cannot go on: {trouble}")
                return
            if not number:  # the machine has less to do than it had, so moments move, too
                self._seconds = {k: min(v, self._seconds[k]) for k, v in process.seconds.items()}
            # an exact solver evaluates fewer plans than it may
            whole = sum(o["fidelity"] == "F1" for o in self._expected)
            if process.announced not in (0, whole):
                _say(f"{run} announced {process.announced} evaluations at its end")
                self.tally.lost += 1
            self.tally.finished += 1
            if self._compare(run, state):
                self.tally.equal += 1
                shutil.rmtree(self.place.folder / run)
            return

    def _count(self, run: str, process: Process, state: dict[str, Any]) -> None:
        """Counts a kill, and what it left."""
        found = self.place.outcomes(run)
        kept = sum(o["fidelity"] == "F1" for o in found)
        state["announced"] = max(state["announced"], process.announced)
        if not process.announced and kept == state["kept"]:
            phase = "start-up"
        else:
            phase = "searching" if kept < self.place.evaluations else "finishing"
        lost = max(0, state["announced"] - kept) + max(0, state["kept"] - kept)
        if lost or found != self._expected[: len(found)]:
            _say(f"{run}: {process.announced} announced, {state['kept']} were kept, {kept} are; "
                 f"equal so far: {found == self._expected[: len(found)]}")  # fmt: skip
        state["kept"] = kept
        state["complete"] = self.place.summary(run) is not None
        tally = self.tally
        tally.kills += 1
        tally.phases[phase] += 1
        tally.unborn += not (self.place.folder / run / "config.json").exists()
        tally.announced += process.announced
        tally.kept += kept
        tally.lost += lost
        if tally.kills % 10 == 0:
            _say(f"{self.agent}: {tally.kills} kills")

    def _compare(self, run: str, state: dict[str, Any]) -> bool:
        """Whether a finished run equals the unbroken one; says what differs."""
        place = self.place
        first, second = place.folder / run, place.folder / self.whole
        differs = []
        if place.outcomes(run) != self._expected:
            differs.append("outcomes")
        if place.summary(run) != place.summary(self.whole):
            differs.append("summary.json")
        for name in ("plan.json", "model.safetensors"):
            if (first / name).read_bytes() != (second / name).read_bytes():
                differs.append(name)
        known = {file.name for file in second.iterdir()}
        if state.get("complete"):  # nobody goes on behind the summary, so the lock's file stays
            known.add(".lock")
        left = {file.name for file in first.iterdir()} - known
        if differs or left:
            _say(f"{run} differs in {differs}; left over: {sorted(left)}")
        return not differs and not left


def main() -> int:
    """Prints a row per agent; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description="Kills searches and resumes them.")
    parser.add_argument("--agents", default=AGENTS)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    agents = (ALL if given.agents == "all" else given.agents).split(",")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        place = _place(Path(folder), given.evaluations)
        tallies = []
        for i, agent in enumerate(agents):
            trial = Trial(place, agent, given.seed)
            trial.kill(given.kills // len(agents) + (i < given.kills % len(agents)))
            tallies.append(trial.tally)
            _say(trial.tally.row())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                            capture_output=True, check=False).stdout.strip()  # fmt: skip
    print(f"Commit {commit}, digits, {given.evaluations} evaluations, seed {given.seed}, "
          f"{(time.monotonic() - begin) / 60:.0f} minutes.\n")  # fmt: skip
    print(_row(COLUMNS), "|" + "---|" * len(COLUMNS), *(t.row() for t in tallies), sep="\n")
    return 0 if all(tally.clean for tally in tallies) else 1


def _place(folder: Path, evaluations: int) -> Place:
    """Copies the checkout and trains the network once."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    settings = ["--model", "digits", "--weights", "digits.safetensors", "--data", "digits",
                "--evaluations", str(evaluations),
                "--finalists", "2", "--threads", "1"]  # fmt: skip
    place = Place(folder, settings, evaluations)
    program = ("import autocomp, pathlib; from autocomp.models import build_model; "
               "from safetensors.torch import save_file; "
               "save_file(build_model('digits').state_dict(), 'digits.safetensors'); "
               "print(pathlib.Path(autocomp.__file__).parent.parent)")  # fmt: skip
    found = subprocess.run([sys.executable, "-c", program], cwd=folder, env=place.environment(),
                           text=True, stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    if Path(found.strip()).resolve() != folder.resolve():
        raise SystemExit(f"The copy in {folder} must be what runs, but {found.strip()} is.")
    return place


def _row(cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
