r"""Agents and spaces on one network at several budgets and seeds: prints Markdown tables.

    python benchmarks/agents.py                       # ResNet-20, CIFAR-10, six budgets, 3 seeds
    python benchmarks/agents.py --agents dp,local --budgets 8%,4% --evaluations 30 --seeds 0
    python benchmarks/agents.py --spaces structured --budgets macs=50%,macs=70%
    python benchmarks/agents.py --agents ddpg --budgets 8%,5%,3% \
        --spaces full:levels=0\;weight_bits=8,sparsity:weight_bits=8,bits,joint,full

Several options of a space stand with ";" between them. A budget without a name is of the file.

The network and data come from the folder in AUTOCOMP_SHARED (default ../shared). Each search is a
run of its own, end to end, in a process of its own; only the option tables, which a first process
builds, are shared through the cache. A run that is complete in --out is not made again, so the
benchmark can be stopped and continued; all runs of the first seed are made before the next one's.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance import commit, resnet20_on_cifar10

ROOT = Path(__file__).resolve().parent.parent
AGENTS = "uniform,dp,local,tpe,ddpg,ppo,random"
BUDGETS = "12%,8%,6%,5%,4%,3%"
DETERMINISTIC = ("uniform", "greedy", "dp", "ilp")
COLD = ("uniform", "random")
"""Baselines, which start from nothing; all others start from the solver's plan."""
STRUCTURAL = ("structured", "full")
COEFFICIENTS = ("tpe", "nsga2", "cmaes", "ddpg", "td3", "sac", "ppo")
"""Agents that act on the layers' loss curves; the others choose sparsity and bits."""


@dataclass(frozen=True)
class Job:
    """One search."""

    agent: str
    space: str
    budget: str
    seed: str

    @property
    def name(self) -> str:
        """The agent's name without options."""
        return self.agent.partition(":")[0]

    @property
    def full_space(self) -> str:
        """The space that the agent searches: its loss curves, where costs add up over layers."""
        plain = self.space.partition(":")[0] in STRUCTURAL
        inner = self.space.replace(";", ",")
        if plain or self.name not in COEFFICIENTS:
            return inner
        name, _, options = inner.partition(":")
        return f"coefficients:menu={name}" + (f",{options}" if options else "")

    @property
    def row(self) -> str:
        """The job's row of a table."""
        return f"{self.agent}, {self.space}"

    def folder(self, out: Path) -> Path:
        """The run's folder."""
        safe = re.sub(r"[^\w=.%+-]+", "_", f"{self.agent}-{self.space}-{self.budget}-{self.seed}")
        return out / safe.replace("%", "")


def main() -> None:
    """Runs the searches and prints the tables."""
    given = _arguments()
    weights, data = resnet20_on_cifar10()
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = given.seeds.split(",")
    jobs = [
        Job(agent, space, budget, seed)
        for seed in seeds
        for space in given.spaces.split(",")
        for agent in given.agents.split(",")
        for budget in given.budgets.split(",")
        if seed == seeds[0] or agent.partition(":")[0] not in DETERMINISTIC
    ]

    def search(job: Job) -> None:
        folder = job.folder(given.out)
        if (folder / "wall.json").exists():
            return
        shutil.rmtree(folder, ignore_errors=True)  # of a benchmark that was stopped
        budget = job.budget if "=" in job.budget else f"size={job.budget}"
        command = [
            sys.executable, "-m", "autocomp", "search", "--model", "resnet20",
            "--weights", str(weights), "--data", f"cifar10:{data}",
            "--budget", budget, "--agent", job.agent, "--space", job.full_space,
            "--warm-start", "none" if job.name in COLD else "dp",
            "--evaluations", str(given.evaluations), "--seed", job.seed,
            "--threads", str(given.threads), "--report", "none", "--out", str(folder),
        ]  # fmt: skip
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"# {job} failed: {done.stderr}", file=sys.stderr, flush=True)
            return
        wall = time.perf_counter() - start
        (folder / "wall.json").write_text(json.dumps(wall))
        print(f"# {job} {wall:.0f} s", file=sys.stderr, flush=True)

    for space in given.spaces.split(","):  # builds the tables, alone
        search(Job("dp", space, given.budgets.split(",")[0], seeds[0]))
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(search, jobs))
    _print(given, jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares agents on ResNet-20.")
    parser.add_argument("--agents", default=AGENTS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budgets", default=BUDGETS, help="shares of the dense file's size")
    parser.add_argument("--spaces", default="joint")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2, help="searches at a time")
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmark-agents")
    return parser.parse_args()


def _print(given: argparse.Namespace, jobs: list[Job]) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job in dict.fromkeys(jobs):
        folder = job.folder(given.out)
        if (folder / "wall.json").exists():
            summary = json.loads((folder / "summary.json").read_text())
            summary["wall"] = json.loads((folder / "wall.json").read_text())
            found.setdefault((job.row, job.budget), []).append(summary)
    dense = next(iter(found.values()))[0]
    print(f"ResNet-20, CIFAR-10, {given.evaluations} evaluations, commit "
          f"{commit()}; dense: {dense['search_dense']['accuracy']:.2%} validation, "
          f"{dense['test_dense']['accuracy']:.2%} test.\n")  # fmt: skip
    budgets = given.budgets.split(",")
    agents = list(dict.fromkeys(job.row for job in jobs))
    for split, images in (("search", "validation"), ("test", "test")):
        print(f"| {images} accuracy, median (range) | " + " | ".join(budgets) + " |")
        print("|---" * (len(budgets) + 1) + "|")
        for agent in agents:
            cells = [_cell(found.get((agent, budget), []), split) for budget in budgets]
            print(f"| {agent} | " + " | ".join(cells) + " |")
        print(f"| standard error | {' | '.join(_errors(found, budgets, split))} |\n")
    print("| | " + " | ".join(budgets) + " |\n" + "|---" * (len(budgets) + 1) + "|")
    for what, value in (
        ("limit", lambda runs: ", ".join(f"{v:,} {runs[0]['units'][k]}"
                                         for k, v in runs[0]["limits"].items())),
        ("largest file, bytes", lambda runs: f"{max(r['compressed']['size'] for r in runs):,}"),
        ("minutes a search, median",
         lambda runs: f"{statistics.median(r['wall'] for r in runs) / 60:.1f}"),
    ):  # fmt: skip
        cells = []
        for budget in budgets:
            runs = [r for agent in agents for r in found.get((agent, budget), [])]
            cells.append(value(runs) if runs else "")
        print(f"| {what} | " + " | ".join(cells) + " |")
    counts = {agent: [len(found.get((agent, b), [])) for b in budgets] for agent in agents}
    reached = {agent: min(filter(None, c), default=0) for agent, c in counts.items()}
    print(f"\nSeeds: {', '.join(f'{a} {n}' for a, n in reached.items())}.")


def _cell(runs: list[dict[str, Any]], split: str) -> str:
    if not runs:
        return ""
    values = sorted(100 * run[split]["accuracy"] for run in runs)
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:.2f}..{values[-1]:.2f})"


def _errors(
    found: dict[tuple[str, str], list[dict[str, Any]]], budgets: list[str], split: str
) -> list[str]:
    cells = []
    for budget in budgets:
        runs = [r for (_, b), many in found.items() if b == budget for r in many]
        best = max((r[split]["accuracy"] for r in runs), default=0.0)
        n = runs[0][split]["n"] if runs else 1
        cells.append(f"{100 * math.sqrt(best * (1 - best) / n):.2f}")
    return cells


if __name__ == "__main__":
    main()
