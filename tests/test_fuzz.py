"""300 of the mutations of benchmarks/fuzz.py: files that somebody else made, or a disk damaged."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its dataclasses look for their module there
    spec.loader.exec_module(module)
    return module


def test_mutations_are_refused_equal_or_sound(fuzz: ModuleType, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = fuzz.specimens(tmp_path)
        for specimen in made:  # whole files are what is said of them
            assert specimen.check(specimen.data, False) in (fuzz.EQUAL, fuzz.SOUND), specimen.name
        jobs = fuzz.jobs_of(made, 300, seed=1)
        outcomes = fuzz.run_jobs(made, jobs)
    told = [
        f"{made[place].kind} {made[place].name} seed {seed}: {outcome}"
        for (place, seed), outcome in zip(jobs, outcomes, strict=True)
        if outcome.startswith("FAILED")
    ]
    assert not told
    kinds = Counter(made[place].kind for place, _ in jobs)
    assert set(kinds) == {"artifact", "run", "cache", "policy", "weights"}
    assert Counter(outcomes)[fuzz.REFUSED] > 100


def test_a_failure_is_one(fuzz: ModuleType) -> None:
    """The harness notices what it is there for: a traceback, a long line, a process that ends."""

    def crash(data: bytes, anew: bool) -> str:
        raise ValueError("x")

    def shout(data: bytes, anew: bool) -> str:
        return str(fuzz._refused(fuzz.AutocompError("")))

    def end(data: bytes, anew: bool) -> str:
        import os

        os._exit(3)

    made = [fuzz.Specimen("weights", name, b"abc" * 9, check) for name, check in
            (("crash", crash), ("shout", shout), ("end", end))]  # fmt: skip
    outcomes = fuzz.run_jobs(made, [(0, 1), (1, 1), (2, 1), (0, 2)])
    assert [o.startswith("FAILED") for o in outcomes] == [True] * 4
    assert "ValueError" in outcomes[0] and "process ended" in outcomes[2]
