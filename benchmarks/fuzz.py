"""Files that somebody else made, or a disk has damaged: each must be refused in one line, or sound.

    python benchmarks/fuzz.py                          # 10,000 mutations of every kind of file
    python benchmarks/fuzz.py --count 500 --seed 7     # fewer, others
    python benchmarks/fuzz.py --kinds artifact,cache

Whole files of every kind are made first, then mutated: bytes flipped, cut, doubled and swapped, and
values within their JSON replaced by ones of another kind, size or depth. Compressed files get a
checksum that fits in two of three cases, as a hostile file would have.

Each mutation is read as a user would read it. Outcomes: *refused* (an AutocompError in one line of
at most 1,000 characters; for a cache, that it is made anew), *equal* to what the whole file gives,
or *sound*: another file without an error in it (only where there is no checksum, or it was made
anew). Everything else is a failure: another exception, a process that ends, more than 20 seconds or
512 MiB over the start, or other contents behind a checksum that was left as it was. The exit status
is 1 if there was one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load as tensors_of  # noqa: E402
from safetensors.torch import save as save_tensors  # noqa: E402
from torch import nn  # noqa: E402

import autocomp  # noqa: E402
from autocomp.artifacts.container import pack, unpack  # noqa: E402
from autocomp.artifacts.deflate import deflate, inflate  # noqa: E402
from autocomp.compression.loading import read  # noqa: E402
from autocomp.compression.tables import TableFolder  # noqa: E402
from autocomp.core.plan import Plan  # noqa: E402
from autocomp.errors import AutocompError  # noqa: E402
from autocomp.models import build_model, load_weights  # noqa: E402

SECONDS, MEBIBYTES = 20, 512
REFUSED, EQUAL, SOUND = "refused", "equal", "sound"
ODD: list[Any] = [
    None, True, -1, 0, 3, 2**31, 2**40, 2**63, 1e308, -0.5, "", "x", "x" * 3000, "\x1b[2J", "a.b",
    [], [[]], {}, {"a": 1}, ["x"], [0] * 200, "torch:nn", "os:system", float("nan"), float("inf"),
]  # fmt: skip


@dataclass(frozen=True)
class Specimen:
    """A whole file, and how it is read.

    Attributes:
        kind: "artifact", "run", "cache", "policy" or "weights".
        name: what it is.
        data: its bytes.
        check: reads a mutation; returns an outcome, or raises.
    """

    kind: str
    name: str
    data: bytes
    check: Callable[[bytes, bool], str]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Returns `data` with bytes flipped, cut off, taken out, doubled, swapped or made up."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not made:
            break
        at, length = rng.randrange(len(made)), rng.choice((1, 1, 2, 4, 8, 64))
        how = rng.randrange(7)
        if how == 0:
            made[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            made[at : at + length] = bytes(rng.randrange(256) for _ in range(length))
        elif how == 2:
            del made[at:]
        elif how == 3:
            del made[at : at + length]
        elif how == 4:
            made[at:at] = made[at : at + length]
        elif how == 5:
            other = rng.randrange(len(made))
            made[at : at + length] = made[other : other + length]
        else:
            made[at : at + length] = rng.choice((b"\x00", b"\xff")) * length
    return bytes(made)


def altered(value: Any, rng: random.Random) -> Any:
    """Returns a JSON value with one of the values in it replaced, taken out or doubled."""
    paths = list(_paths(value))
    path = rng.choice(paths)
    made = json.loads(json.dumps(value))
    if not path:
        return rng.choice(ODD)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    how, last = rng.randrange(5), path[-1]
    if how == 0:
        del inner[last]
    elif how == 1 and isinstance(inner, list):
        inner.insert(last, inner[last])
    elif how == 2:
        deep: Any = inner[last]
        for _ in range(rng.choice((2, 40, 900, 5000))):
            deep = [deep]
        inner[last] = deep
    else:
        inner[last] = rng.choice(ODD)
    return made


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def text_of(value: Any) -> bytes:
    """Returns JSON text; what is nested too deep for the encoder is written by hand."""
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"[" * 50_000 + b"]" * 50_000


def sealed(payload: bytes) -> bytes:
    """Returns a compressed file of this payload, with a checksum that fits."""
    digest = hashlib.sha256(payload).hexdigest()[:32]
    metadata = {"format": "autocomp", "version": "2", "sha256": digest}
    tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.zeros(0)
    return save_tensors({"payload": tensor.to(torch.uint8)}, metadata)


def mutate_artifact(data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Returns a mutated compressed file, and whether its checksum was made anew."""
    if rng.random() < 1 / 3:
        return mutated(data, rng), False
    payload = tensors_of(data)["payload"].numpy().tobytes()
    length = struct.unpack_from("<I", payload)[0]
    if rng.random() < 0.5:
        index = json.loads(inflate(payload[4 : 4 + length], 1 << 26))
        head = deflate(text_of(altered(index, rng)))
        return sealed(struct.pack("<I", len(head)) + head + payload[4 + length :]), True
    return sealed(mutated(payload, rng)), True


def mutate_json(data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """Returns a mutated JSON file, or file of JSON lines."""
    if rng.random() < 0.5:
        return mutated(data, rng), False
    lines = data.decode().splitlines() if data.count(b"\n{") else [data.decode()]
    at = rng.randrange(len(lines))
    lines[at] = text_of(altered(json.loads(lines[at]), rng)).decode()
    return "\n".join(lines).encode() + b"\n", False


def mutate(specimen: Specimen, rng: random.Random) -> tuple[bytes, bool]:
    """Returns a mutation of a file, and whether its checksum was made anew."""
    if specimen.kind == "artifact":
        return mutate_artifact(specimen.data, rng)
    if specimen.name.endswith((".json", ".jsonl")):
        return mutate_json(specimen.data, rng)
    return mutated(specimen.data, rng), False


# ---- whole files


class Small(nn.Module):
    """A convolution, a batch norm, attention, and linear layers of which two are tied."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.n = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.d = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.g, self.h, self.f = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.h.weight = self.g.weight
        self.register_buffer("table", torch.arange(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits `(n, 4)`."""
        x = torch.relu(self.d(torch.relu(self.n(self.c(x))))).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.f(self.h(torch.relu(self.g(x))).mean(1))  # type: ignore[no-any-return]


def data_of() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns made-up splits: what is read matters here, not how well it was searched."""
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(48, 3, 6, 6, generator=generator), torch.arange(48) % 4) for _ in range(3)]


SPACES = {
    "codes": ("size=40%", "bits"), "zeros": ("size=30%", "joint:levels=4"),
    "patterns": ("size=60%", "nm"), "channels": ("macs=80%", "structured:levels=4"),
    "factors": ("macs=95%", "rank:ranks=8"),
    "inputs": ("bitops=40%", "bits:activation_bits=4/8/32"),
    "all": ("size=40%", "full:levels=4,channel_levels=4,ranks=3"),
}  # fmt: skip


def specimens(folder: Path) -> list[Specimen]:
    """Makes whole files of every kind."""
    torch.manual_seed(0)
    model, splits = Small().eval(), data_of()
    made: list[Specimen] = []
    settings: dict[str, Any] = {"agent": "dp", "evaluations": 1, "report": "none"}
    for name, (budget, space) in SPACES.items():
        run = folder / name
        autocomp.search(model, splits, budget, space=space, out=run, progress=False, **settings)
        made.append(_artifact(name, run / "model.safetensors", model, folder))
    again = autocomp.load(folder / "channels", model=Small())
    autocomp.search(again, splits, "size=30%", space="bits", out=folder / "again", **settings)
    made.append(_artifact("history", folder / "again" / "model.safetensors", model, folder))
    run = folder / "digits"
    cache = folder / "cache"
    autocomp.search(
        "digits", "digits", "size=10%", agent="ddpg:width=16,clone_steps=4,pretrain_steps=4",
        evaluations=6, space="bits", out=run, cache=str(cache), report="full", progress=False,
    )  # fmt: skip
    made.append(_artifact("digits", run / "model.safetensors", None, folder))
    for part in ("config.json", "outcomes.jsonl", "plan.json", "summary.json", "inspection.json",
                 "training.json", "episodes.jsonl"):  # fmt: skip
        if (run / part).exists():
            made.append(_run_file(run, part, folder))
    made += _caches(cache, folder)
    made.append(_policy(run, folder))
    made += _weights(folder)
    return made


def _artifact(name: str, file: Path, model: nn.Module | None, folder: Path) -> Specimen:
    whole = unpack(file.read_bytes(), None).state_dict()
    example = torch.randn(2, 1, 8, 8) if model is None else torch.randn(2, 3, 6, 6)
    target = folder / "mutant.safetensors"

    def check(data: bytes, anew: bool) -> str:
        target.write_bytes(data)
        try:
            found = read(target)
            network = autocomp.load(target, model=None if model is None else Small())
        except AutocompError as error:
            return _refused(error)
        with torch.no_grad():
            network(example)
        state = found.state_dict()
        same = _same(state, whole)
        if not same and not anew:
            raise AssertionError("other contents behind the checksum")
        if not _same(unpack(pack(found), None).state_dict(), state):
            raise AssertionError("what was read is not what is written again")
        return EQUAL if same else SOUND

    return Specimen("artifact", name, file.read_bytes(), check)


def _run_file(run: Path, part: str, folder: Path) -> Specimen:
    from autocomp.inspection.record import RunRecord
    from autocomp.reports.run_page import render_run
    from autocomp.reports.terminal.overview import inspection_json, inspection_overview

    target = folder / "mutant-run"
    shutil.copytree(run, target, dirs_exist_ok=True)
    whole = (run / part).read_bytes()
    turn = 0

    def check(data: bytes, anew: bool) -> str:
        nonlocal turn
        turn += 1
        (target / part).write_bytes(data)
        try:
            record = RunRecord.read(target)
            inspection_json(record)
            inspection_overview(record)
            if turn % 10 == 0:
                render_run(record)
            autocomp.compare([target, run]) if turn % 10 == 5 else None
            if part == "plan.json":
                Plan.from_json(json.loads((target / part).read_text()))
        except AutocompError as error:
            return _refused(error)
        except (ValueError, RecursionError):
            if part == "plan.json":  # nothing of this package reads it
                return REFUSED
            raise
        finally:
            (target / part).write_bytes(whole)
        return EQUAL if data == whole else SOUND

    return Specimen("run", part, whole, check)


def _caches(cache: Path, folder: Path) -> list[Specimen]:
    from autocomp.core.layer_spec import LayerSpec

    found = []
    tables = sorted(cache.rglob("*.safetensors"))[:3] + sorted(cache.rglob("*.json"))[:3]
    for place, file in enumerate(tables):
        table = TableFolder(folder / "tables", "key")
        whole = _table(file)
        shape = next((tuple(t.shape) for n, t in whole.items() if n == "0.codes"), ())
        layer = LayerSpec("x", "x.weight", "linear", shape, 0, 1, 1, 1, 1, 1, True, False)
        json_file = file.suffix == ".json"
        choices = _menu(len({name.partition(".")[0] for name in whole})) if whole else []
        target = table._path(layer, choices, file.suffix[1:])
        assert target is not None
        target.parent.mkdir(parents=True, exist_ok=True)

        def check(
            data: bytes, anew: bool, target: Path = target, table: TableFolder = table,
            layer: Any = layer, choices: Any = choices, json_file: bool = json_file,
            whole: Any = whole, original: bytes = file.read_bytes(),
        ) -> str:  # fmt: skip
            target.write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if json_file:
                    facts = table.load_facts(layer, choices)
                    if not facts:
                        return REFUSED
                    same = facts == json.loads(original)["values"]
                else:
                    options = table.load(layer, choices)
                    if options is None:
                        return REFUSED
                    same = _same(_table(target), whole)
            if not same:
                raise AssertionError("a damaged table was believed")
            return EQUAL

        found.append(Specimen("cache", f"{place}{file.suffix}", file.read_bytes(), check))
    return found


def _table(file: Path) -> dict[str, torch.Tensor]:
    return {} if file.suffix == ".json" else tensors_of(file.read_bytes())


def _menu(n: int) -> list[Any]:
    from autocomp.core.choice import Choice

    return [Choice.of(sparsity=i / 1000, weight_bits=8) for i in range(n)]


def _policy(run: Path, folder: Path) -> Specimen:
    from autocomp.agents import make_agent
    from autocomp.agents.reinforcement.transfer import load_policy
    from autocomp.search_spaces import feasible_space

    from autocomp.problem.problem import CompressionProblem

    target = folder / "mutant-agent.zip"
    whole = (run / "agent.zip").read_bytes()
    agent: Any = make_agent("ddpg:width=16")
    problem = CompressionProblem(build_model("digits"), "digits", "size=10%")
    feasible = feasible_space(problem, "bits")
    from autocomp.envs import LayerwiseEnv

    model = agent.algorithm(
        "MlpPolicy", LayerwiseEnv(feasible), policy_kwargs={"net_arch": [16, 16]}
    )

    def check(data: bytes, anew: bool) -> str:
        target.write_bytes(data)
        try:
            load_policy(model, target)
        except AutocompError as error:
            return _refused(error)
        return SOUND

    return Specimen("policy", "agent.zip", whole, check)


def _weights(folder: Path) -> list[Specimen]:
    model = Small()
    save = folder / "weights.pt"
    torch.save(model.state_dict(), save)
    found = []
    for name, whole in (
        ("weights.pt", save.read_bytes()),
        (
            "weights.safetensors",
            save_tensors({k: v.clone() for k, v in model.state_dict().items()}),
        ),
    ):
        target = folder / f"mutant-{name}"

        def check(data: bytes, anew: bool, target: Path = target) -> str:
            target.write_bytes(data)
            try:
                load_weights(Small(), target)
            except AutocompError as error:
                return _refused(error)
            return SOUND

        found.append(Specimen("weights", name, whole, check))
    return found


def _refused(error: AutocompError) -> str:
    text = str(error)
    if not text.isprintable() or len(text) > 1000 or not text:
        raise AssertionError(f"a message of {len(text)} characters: {text!r:.200}")
    return REFUSED


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- running them


class Slow(BaseException):
    """A mutation took longer than it may."""


def _alarm(number: int, frame: Any) -> None:
    raise Slow


def try_one(specimen: Specimen, seed: int) -> str:
    """Reads one mutation; returns its outcome, or a failure that begins with "FAILED"."""
    data, anew = mutate(specimen, random.Random(f"{specimen.kind} {specimen.name} {seed}"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    try:
        found = specimen.check(data, anew)
    except Slow:
        found = f"FAILED: more than {SECONDS} seconds"
    except BaseException as error:
        found = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.alarm(0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if grown > MEBIBYTES:
        found = f"FAILED: {grown} MiB over the start"
    return found


def jobs_of(made: list[Specimen], count: int, seed: int) -> list[tuple[int, int]]:
    """Returns (place of a file, seed) pairs: the kinds get equal shares, artifacts twice."""
    rng = random.Random(seed)
    kinds = sorted({s.kind for s in made})
    weights = [2 if kind == "artifact" else 1 for kind in kinds]
    places = {kind: [i for i, s in enumerate(made) if s.kind == kind] for kind in kinds}
    return [
        (rng.choice(places[rng.choices(kinds, weights)[0]]), rng.randrange(2**32))
        for _ in range(count)
    ]


def run_jobs(made: list[Specimen], jobs: list[tuple[int, int]]) -> list[str]:
    """Runs mutations in forked processes, a hundred each; one that ends is a failure of its job."""
    outcomes: list[str] = []
    while len(outcomes) < len(jobs):
        part = jobs[len(outcomes) : len(outcomes) + 100]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "wb") as out:
                for place, seed in part:
                    pickle.dump(try_one(made[place], seed), out)
                    out.flush()
            os._exit(0)
        os.close(writer)
        done = []
        with os.fdopen(reader, "rb") as given:
            for _ in part:
                try:
                    done.append(pickle.load(given))
                except EOFError:
                    break
        status = os.waitpid(child, 0)[1]
        if len(done) < len(part):
            done.append(f"FAILED: the process ended with status {status}")
        outcomes += done
    return outcomes


def main() -> int:
    """Runs the benchmark; returns 1 if a mutation failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/user-cache"
        made = specimens(Path(folder))
        wanted = set(filter(None, given.kinds.split(",")))
        made = [s for s in made if not wanted or s.kind in wanted]
        for specimen in made:  # the whole files are what is said of them
            assert specimen.check(specimen.data, False) in (EQUAL, SOUND), specimen.name
        jobs = jobs_of(made, given.count, given.seed)
        outcomes = run_jobs(made, jobs)
    table: dict[str, Counter[str]] = {}
    failures = []
    for (place, seed), outcome in zip(jobs, outcomes, strict=True):
        kind = made[place].kind
        table.setdefault(kind, Counter())[outcome.partition(":")[0]] += 1
        if outcome.startswith("FAILED"):
            failures.append(f"{kind} {made[place].name} seed {seed}: {outcome}")
    print("| files | mutations | refused | equal | sound | failed |\n|---|---|---|---|---|---|")
    for kind, found in sorted(table.items()):
        columns = (found[name] for name in (REFUSED, EQUAL, SOUND, "FAILED"))
        print(
            f"| {kind} | {sum(found.values()):,} | " + " | ".join(f"{n:,}" for n in columns) + " |"
        )
    print(f"\n{len(jobs):,} mutations, seed {given.seed}, in {time.perf_counter() - start:.0f} s.")
    for failure in failures[:50]:
        print(failure)
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
