"""The run folder: the whole trail of a search, written as it happens."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import AutocompError, RunError
from autocomp.runs.settings import SearchConfig
from autocomp.storage.files import naming, temporaries, write_bytes, write_json
from autocomp.storage.json_files import parse_json, read_json
from autocomp.storage.reading import read_whole
from autocomp.training import TrainingPoint

FORMAT = 1
_SINCE_OUTPUTS = "device_table"
"""A setting that every run has since spaces round outputs."""
_ROUND_OUTPUTS = ("bits", "joint", "nm", "full")
"""Those spaces."""
_STUDY_LOCKS = "*.log.lock*"


class Run:
    """A folder that holds one search.

    `config.json` (settings, versions, fingerprints), `outcomes.jsonl` (a line per evaluation,
    flushed as it happens), `plan.json` (the best so far), and at the end `model.safetensors`,
    `agent.*` and `summary.json`; with a training also `training.jsonl` (its curve) and
    `one-shot.safetensors` (the file before it). Killing the process loses at most the evaluation
    in flight.

    Attributes:
        path: the folder.
        made: the folders that `create` had to make, the innermost first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made: tuple[Path, ...] = ()

    @classmethod
    def create(cls, path: Path | None, name: str, config: dict[str, Any]) -> Run:
        """Makes a new folder: `path`, or `runs/<time>-<name>`.

        `config.json` comes last and makes it a run. What a process leaves that is killed before
        counts as empty.

        Raises:
            RunError: if the folder exists and is not empty, or cannot be made.
        """
        if path is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            safe = _safe(name)
            path = Path("runs") / f"{stamp}-{safe}"
            for number in range(2, 1000):
                if not path.exists():
                    break
                path = Path("runs") / f"{stamp}-{safe}-{number}"
        run = cls(path)
        try:
            if path.exists() and not _is_vacant(path):
                if run.is_held():
                    raise in_use(path)
                raise RunError(
                    f"A run needs a new or empty folder, but {str(path)!r} is neither; choose "
                    f"another --out, or continue it with `autocomp resume {path}`."
                )
            run.made = _missing(path)
            path.mkdir(parents=True, exist_ok=True)
            for left in temporaries(path, "config.json"):
                left.unlink()
            (path / "outcomes.jsonl").touch()
            write_json(path / "config.json", {"format": FORMAT, **config})
        except OSError as error:
            run.discard()
            raise RunError(
                f"The run folder must be writable, but {str(path)!r} is not ({error.strerror}); "
                "choose another --out."
            ) from None
        return run

    def discard(self) -> None:
        """Takes away what `create` made: the folder, and those above it that it needed.

        A folder that was there before, and empty, is empty again.
        """
        with suppress(OSError):
            for left in self.path.iterdir():
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
        for folder in self.made:
            with suppress(OSError):  # it holds something else by now
                folder.rmdir()

    def is_empty(self) -> bool:
        """Whether nothing was evaluated yet; not where that cannot be read."""
        try:
            return not self.outcomes()
        except RunError:
            return False

    def is_held(self) -> bool:
        """Whether another process writes the run."""
        lock = FileLock(self.path / ".lock")
        if not (self.path / ".lock").is_file() or (self.path / ".lock").is_symlink():
            return False
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Opens an existing run; RunError if the folder is none, or damaged."""
        run = cls(Path(path))
        run.config()
        return run

    def config(self) -> dict[str, Any]:
        """Returns `config.json`; RunError if it is missing, damaged or of another version."""
        file = self.path / "config.json"
        try:
            values = read_json(file)
        except (OSError, ValueError):
            raise RunError(
                f"A run folder must hold a readable config.json, but {str(self.path)!r} does not; "
                "name a folder that `autocomp search` wrote."
            ) from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise RunError(
                f"The run must have format {FORMAT}, but {str(self.path)!r} has {found!r}; read it "
                "with the autocomp that wrote it."
            )
        for part in ("settings", "fingerprints"):
            if not isinstance(values.get(part), dict):
                raise RunError(
                    f"{str(file)!r} must hold an object {part!r}, but holds "
                    f"{values.get(part)!r}; restore the file, or start a new search."
                )
        wrong = SearchConfig.wrong_kind(values["settings"]) or _unreadable(values)
        if wrong:
            raise RunError(
                f"{str(file)!r} must hold the settings of a search, but {wrong!r} is of another "
                "kind; restore the file, or start a new search."
            )
        values["settings"] = _with_outputs_as_they_were(values["settings"])
        return values

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; RunError if another one does, or it holds links."""
        for entry in self.path.iterdir():
            if entry.match(_STUDY_LOCKS):
                continue  # links by design; `repair` takes away what a killed process leaves
            if entry.is_symlink():  # writing into it would write somewhere else
                raise RunError(
                    f"A run folder must hold files of its own, but {entry.name!r} in "
                    f"{str(self.path)!r} is a link; put the file in its place."
                )
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise in_use(self.path) from None
        try:
            yield
        finally:
            with suppress(OSError):  # before the release: afterwards it may be another's
                (self.path / ".lock").unlink(missing_ok=True)
            lock.release()

    def append(self, outcome: Outcome) -> None:
        """Adds one line to `outcomes.jsonl` and flushes it."""
        path = self.path / "outcomes.jsonl"
        with naming(path), path.open("a") as file:
            file.write(_line(outcome))
            file.flush()

    def outcomes(self) -> list[Outcome]:
        """Returns the recorded outcomes; a last line that was cut off is left out.

        Raises:
            RunError: if an earlier line is damaged.
        """
        return _read_outcomes(self.path / "outcomes.jsonl")

    def is_cut_off(self) -> bool:
        """Whether the last line of `outcomes.jsonl` is unfinished."""
        data = self._recorded()
        return not data.endswith(b"\n") and bool(data)

    def baselines(self) -> dict[str, tuple[Outcome, ...]]:
        """Returns the outcomes of the baselines that were run beside the search, by agent."""
        files = sorted(self.path.glob("baseline-*.jsonl"))
        return {file.stem.removeprefix("baseline-"): tuple(_read_outcomes(file)) for file in files}

    def has_baseline(self, agent: str) -> bool:
        """Whether a baseline was run beside the search; `agent` as `write_baseline` takes it."""
        return self._baseline(agent).exists()

    def write_baseline(self, agent: str, outcomes: Iterable[Outcome]) -> None:
        """Writes a baseline's outcomes, all or nothing."""
        lines = [_line(outcome) for outcome in outcomes]
        write_bytes(self._baseline(agent), "".join(lines).encode())

    def repair(self) -> bool:
        """Cuts an unfinished last line off `outcomes.jsonl`; says whether there was one.

        Also takes away what else a killed process leaves: temporary files, and the lock of an
        Optuna study, which waits for its owner. Call it while the folder is `locked`.
        """
        for left in [*temporaries(self.path), *self.path.glob(_STUDY_LOCKS)]:
            left.unlink(missing_ok=True)
        data = self._recorded()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) == len(data):
            return False
        write_bytes(self.path / "outcomes.jsonl", whole)
        return True

    def _recorded(self) -> bytes:
        file = self.path / "outcomes.jsonl"
        return read_whole(file) if file.exists() else b""

    def write_plan(self, plan: Plan) -> None:
        """Writes the best plan so far."""
        write_json(self.path / "plan.json", plan.to_json())

    def write_model(self, data: bytes) -> Path:
        """Writes the compressed file and returns its path."""
        write_bytes(self.path / "model.safetensors", data)
        return self.path / "model.safetensors"

    @property
    def one_shot(self) -> Path:
        """The compressed file as it was before a training."""
        return self.path / "one-shot.safetensors"

    @property
    def training_state(self) -> Path:
        """The state that a training goes on from, while it lasts."""
        return self.path / "training-state.safetensors"

    def write_one_shot(self, data: bytes) -> None:
        """Writes the compressed file that a training begins with."""
        write_bytes(self.one_shot, data)

    def append_point(self, point: TrainingPoint) -> None:
        """Adds one line to `training.jsonl` and flushes it."""
        path = self.path / "training.jsonl"
        with naming(path), path.open("a") as file:
            file.write(json.dumps(point.to_json(), separators=(",", ":")) + "\n")
            file.flush()

    def training_points(self) -> list[TrainingPoint]:
        """Returns the curve of the training, if there was one; a line that was cut off ends it.

        Where a training was killed and went on from an earlier step, the later lines count.
        """
        file = self.path / "training.jsonl"
        if not file.exists():
            return []
        lines = read_whole(file).decode(errors="replace").split("\n")
        points: list[TrainingPoint] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                point = TrainingPoint.from_json(parse_json(line))
            except (ValueError, AutocompError):
                if number == len(lines):
                    break
                raise RunError(
                    f"Line {number} of {str(file)!r} must hold a point of a training, but is "
                    "damaged; delete the file."
                ) from None
            points = [p for p in points if p.step < point.step]
            points.append(point)
        return points

    def forget_training(self) -> None:
        """Takes away what an earlier training has left: its curve and its state."""
        for path in (self.path / "training.jsonl", self.training_state):
            path.unlink(missing_ok=True)

    def write_summary(self, values: dict[str, Any]) -> None:
        """Writes the closing figures; their presence marks the run as complete."""
        write_json(self.path / "summary.json", values)

    def summary(self) -> dict[str, Any] | None:
        """Returns the closing figures, or None while the run is not complete."""
        file = self.path / "summary.json"
        if not file.exists():
            return None
        try:
            values: Any = read_json(file)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise RunError(
                f"{str(file)!r} must hold a JSON object, but is damaged; delete it and resume."
            )
        return values

    def _baseline(self, agent: str) -> Path:
        return self.path / f"baseline-{_safe(agent)}.jsonl"


_TOLD = {"command": list, "versions": dict, "splits": dict, "started": str, "fingerprints": dict}
"""What a run tells of itself, if it does: texts, lists of texts, or texts by name."""


def _with_outputs_as_they_were(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings in today's words: an older run's space leaves outputs as they are."""
    space = settings.get("space")
    if _SINCE_OUTPUTS in settings or not isinstance(space, str):
        return settings
    if space.partition(":")[0] not in _ROUND_OUTPUTS or "output_bits" in space:
        return settings
    if "activation_bits" not in space:
        return settings
    return {**settings, "space": f"{space},output_bits=32"}


def _unreadable(values: dict[str, Any]) -> str:
    """Returns the name of something in `config.json` that is not what it should be; "" for none."""
    for name, kind in _TOLD.items():
        if name not in values:
            continue
        value = values[name]
        parts = value.values() if isinstance(value, dict) else value
        if not isinstance(value, kind) or not all(isinstance(part, str) for part in parts):
            return name
    return ""


def in_use(path: Path) -> RunError:
    """Returns the error of a run that another process writes."""
    return RunError(
        f"A run is written by one process, but another one holds {str(path)!r}; wait for it, or "
        "choose another --out."
    )


def _missing(path: Path) -> tuple[Path, ...]:
    """Returns the folders that must be made for a path, the innermost first."""
    return tuple(folder for folder in (path, *path.parents) if not folder.exists())


def _is_vacant(path: Path) -> bool:
    """Whether a folder holds nothing but what a killed `Run.create` leaves."""
    if not path.is_dir():
        return False
    left = temporaries(path, "config.json")
    return all(
        file in left or (file.name == "outcomes.jsonl" and file.stat().st_size == 0)
        for file in path.iterdir()
    )


def _safe(name: str) -> str:
    """Returns a name that a file can have anywhere."""
    return re.sub(r"[^\w.=-]+", "-", name).strip("-")[:80]


def _line(outcome: Outcome) -> str:
    return json.dumps(outcome.to_json(), separators=(",", ":")) + "\n"


def _read_outcomes(file: Path) -> list[Outcome]:
    try:
        text = read_whole(file).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"The run must hold a readable outcomes.jsonl, but {str(file)!r} is not ({error})."
        ) from None
    found = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(Outcome.from_json(parse_json(line)))
        except (ValueError, AutocompError) as error:
            if number == len(lines):  # no newline behind it: the process was killed here
                break
            raise RunError(
                f"Line {number} of {str(file)!r} must hold an outcome, but is damaged "
                f"({error}); delete it and resume."
            ) from None
    return found
