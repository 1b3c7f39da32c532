"""Whether the tests notice: each of these defects, made in a copy of the tree, must fail one.

    python benchmarks/mutants.py               # all of them, some minutes
    python benchmarks/mutants.py norm merit    # those whose name holds one of the words

A defect replaces a text that stands exactly once in its file. The tests that should catch it are
run in the copy, where they must pass before and fail after; the table names the first that fails.
The exit status is the number of defects that no test noticed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutant:
    """A defect: `old` becomes `new` in `file`, and one of `tests` should fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


NORMS = "autocomp/compression/calibration/norms.py"
SENSITIVITY = "autocomp/problem/sensitivity.py"
COMPLETIONS = "autocomp/allocation/completions.py"
ELIMINATION = "autocomp/compression/recovery/elimination.py"
OBSERVATIONS = "envs/observations.py"

MUTANTS = (
    Mutant(
        "norm ratio upside down", NORMS,
        "var_c / var_d.clamp(min=1e-12)", "var_d / var_c.clamp(min=1e-12)",
        ("tests/compression/calibration/test_norms.py",),
    ),
    Mutant(
        "norm shift of the wrong sign", NORMS,
        "mu_c, mean + (mu_c - mu_d)", "mu_c, mean - (mu_c - mu_d)",
        ("tests/compression/calibration/test_norms.py",),
    ),
    Mutant(
        "McNemar's constant", "autocomp/tasks/paired.py",
        "_CONFIDENCE = 2.4", "_CONFIDENCE = 2.0",
        ("tests/problem/test_promotion.py",),
    ),
    Mutant(
        "loss curve not monotone", SENSITIVITY,
        "np.maximum.accumulate(np.maximum([k for _, k in usable], 1e-12))",
        "np.maximum([k for _, k in usable], 1e-12)",
        ("tests/problem/test_sensitivity.py",),
    ),
    Mutant(
        "removal curve not monotone", SENSITIVITY,
        "np.maximum.accumulate([0.0, *(points[share] for share in sorted(points))])",
        "np.array([0.0, *(points[share] for share in sorted(points))])",
        ("tests/problem/test_sensitivity.py",),
    ),
    Mutant(
        "minimum utilisation of what is spent alone", COMPLETIONS,
        "after + self._dearest[step + 1] >= ", "after >= ",
        ("tests/allocation/test_completions.py",),
    ),
    Mutant(
        "minimum utilisation of every budget", COMPLETIONS,
        "allowed & reach.any(1)", "allowed & reach.all(1)",
        ("tests/allocation/test_completions.py",),
    ),
    Mutant(
        "minimum utilisation where channels couple", "autocomp/allocation/coupling.py",
        "(after + high >= self.min_utilisation", "(after >= self.min_utilisation",
        ("tests/allocation/test_coupled.py",),
    ),
    Mutant(
        "the promotion's entrants", "autocomp/problem/promotion.py",
        "_ENTRANTS = 3", "_ENTRANTS = 2",
        ("tests/problem/test_promotion.py",),
    ),
    Mutant(
        "the gap's temperature", "autocomp/tasks/classification.py",
        "temperature: ClassVar[float] = 4.0", "temperature: ClassVar[float] = 3.0",
        ("tests/tasks/test_figures.py",),
    ),
    Mutant(
        "the merit's sign", "autocomp/core/outcome.py",
        "0.0 - (self.divergence", "0.0 + (self.divergence",
        ("tests/core/test_outcome.py",),
    ),
    Mutant(
        "elimination moves the rest away", ELIMINATION,
        "w = w - (w[at, p] / pivot)[:, None] * column",
        "w = w + (w[at, p] / pivot)[:, None] * column",
        ("tests/compression/recovery/test_elimination.py",),
    ),
    Mutant(
        "elimination adds to the inverse", ELIMINATION,
        "(diagonal - v.square())", "(diagonal + v.square())",
        ("tests/compression/recovery/test_elimination.py",),
    ),
    Mutant(
        "a block of eliminations adds to the inverse", ELIMINATION,
        "alpha=-1", "alpha=1",
        ("tests/compression/recovery/test_elimination.py",),
    ),
    Mutant(
        "the dense reward's last step", "envs/rewards.py",
        "return -step.loss + step.loss_so_far + step.result.merit",
        "return step.loss_so_far + step.result.merit",
        ("tests/envs/test_rewards.py", "tests/envs/test_env_contract.py"),
    ),
    Mutant(
        "the scale grid", "autocomp/artifacts/scales.py",
        "152, 166, 181", "152, 165, 181",
        ("tests/artifacts/test_scales.py",),
    ),
    Mutant(
        "half the scales of uniform quantization", "autocomp/compression/weights/uniform.py",
        "_FINER = range(-1, 15)", "_FINER = range(-1, 7)",
        ("tests/compression/weights/test_scales_tried.py",),
    ),
    Mutant(
        "half the octaves of GPTQ's scales", "autocomp/compression/weights/gptq.py",
        "_OCTAVES = torch.arange(17) / 8", "_OCTAVES = torch.arange(9) / 8",
        ("tests/compression/weights/test_scales_tried.py",),
    ),
    Mutant(
        "one scale of GPTQ's, not the best of four", "autocomp/compression/weights/gptq.py",
        "_AROUND = (0.84, 1.0, 1.19, 1.41)", "_AROUND = (1.0,)",
        ("tests/compression/weights/test_scales_tried.py",),
    ),
    Mutant(
        "the observation's log kernel", OBSERVATIONS,
        "math.log2(max(1, layer.kernel)) / 8", "math.log2(max(1, layer.kernel)) / 16",
        ("tests/envs/test_observations.py",),
    ),
    Mutant(
        "the observation's share of MACs", OBSERVATIONS,
        "layer.macs / macs", "layer.n_weights / weights",
        ("tests/envs/test_observations.py",),
    ),
    Mutant(
        "the observation's spending of one budget", OBSERVATIONS,
        "float((used / limits).max())", "float((used / limits).min())",
        ("tests/envs/test_observations.py",),
    ),
)  # fmt: skip


def main() -> int:
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        passing: set[tuple[str, ...]] = set()
        print("| defect | file | noticed by | s |\n|---|---|---|---|")
        for mutant in chosen:
            start = time.monotonic()
            if mutant.tests not in passing:
                code, first = run_tests(tree, mutant.tests)
                if code:
                    raise SystemExit(f"Before anything is changed, {first or mutant.tests} fails.")
                passing.add(mutant.tests)
            found = noticed(tree, mutant)
            survived += found is None
            seconds = time.monotonic() - start
            by = f"`{found}`" if found else "**nothing**"
            print(f"| {mutant.name} | `{mutant.file}` | {by} | {seconds:.0f} |", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} noticed.")
    return survived


def copy_tree(tree: Path) -> None:
    """Copies what git tracks, and what is new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def noticed(tree: Path, mutant: Mutant) -> str | None:
    """Returns the first test that fails with the defect, None if all pass."""
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.old!r} must stand once in {mutant.file}; change the mutant.")
    try:
        file.write_text(text.replace(mutant.old, mutant.new))
        code, first = run_tests(tree, mutant.tests)
    finally:
        file.write_text(text)
    if code not in (0, 1):
        raise SystemExit(f"{mutant.name}: the tests could not be run (pytest's status {code}).")
    return first if code else None


def run_tests(tree: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Returns pytest's exit status, and the first test that failed."""
    # no byte code: two texts of one length within one second would share it
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
         "--tb=no", *tests],
        cwd=tree, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return done.returncode, found[1].removeprefix("tests/") if found else ""


if __name__ == "__main__":
    sys.exit(main())
