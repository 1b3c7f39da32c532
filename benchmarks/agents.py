"""Every agent on one network at one budget, several seeds: prints a Markdown table.

    python benchmarks/agents.py                       # ResNet-20, CIFAR-10, size=8%, 3 seeds
    python benchmarks/agents.py --agents random,tpe --evaluations 30 --seeds 0

The network and data come from the folder in AUTOCOMP_SHARED (default ../shared). Each search is a
run of its own, end to end, in a process of its own; nothing is shared between them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AGENTS = "uniform,random,greedy,tpe,nsga2,cmaes,ddpg,td3,sac,ppo"
DETERMINISTIC = ("uniform", "greedy")


def main() -> None:
    """Runs the searches and prints the table."""
    given = _arguments()
    shared = Path(os.environ.get("AUTOCOMP_SHARED", ROOT.parent / "shared"))
    weights, data = shared / "models" / "resnet20.safetensors", shared / "data" / "cifar10-jpeg"
    if not weights.exists() or not data.exists():
        sys.exit(f"{shared} must hold models/resnet20.safetensors and data/cifar10-jpeg; "
                 "set AUTOCOMP_SHARED.")  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    jobs = [
        (agent, seed)
        for agent in given.agents.split(",")
        for seed in given.seeds.split(",")
        if seed == given.seeds.split(",")[0] or agent.split(":")[0] not in DETERMINISTIC
    ]

    def search(job: tuple[str, str]) -> dict[str, Any]:
        agent, seed = job
        safe = agent.replace("/", "-").replace(":", "_")
        folder = given.out / f"{safe}-{seed}"
        if not (folder / "summary.json").exists():
            command = [
                sys.executable, "-m", "autocomp", "search", "--model", "resnet20",
                "--weights", str(weights), "--data", f"cifar10:{data}", "--budget", given.budget,
                "--agent", agent, "--evaluations", str(given.evaluations), "--seed", seed,
                "--space", given.space, "--threads", str(given.threads), "--out", str(folder),
            ]  # fmt: skip
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{agent}, seed {seed}: {done.stderr}")
            (folder / "wall.json").write_text(json.dumps(time.perf_counter() - start))
            print(f"# {agent} seed {seed} done", file=sys.stderr, flush=True)
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return {**summary, "wall": json.loads((folder / "wall.json").read_text())}

    with ThreadPoolExecutor(given.jobs) as pool:
        found = list(pool.map(search, jobs))
    _print(given, jobs, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares agents on ResNet-20.")
    parser.add_argument("--agents", default=AGENTS)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budget", default="size=8%")
    parser.add_argument("--space", default="joint")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2, help="searches at a time")
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmark-agents")
    return parser.parse_args()


def _print(
    given: argparse.Namespace, jobs: list[tuple[str, str]], found: list[dict[str, Any]]
) -> None:
    dense = found[0]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    print(f"ResNet-20, CIFAR-10, {given.budget}, space {given.space}, "
          f"{given.evaluations} evaluations, commit {commit}; dense: "
          f"{dense['search_dense']['accuracy']:.2%} validation, "
          f"{dense['test_dense']['accuracy']:.2%} test.\n")  # fmt: skip
    print("| agent | seeds | validation, median (range) | test, median | s.e. | file bytes "
          "| evaluated | minutes |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for agent in dict.fromkeys(name for name, _ in jobs):
        mine = [f for (name, _), f in zip(jobs, found, strict=True) if name == agent]
        validation = sorted(f["search"]["accuracy"] for f in mine)
        test = statistics.median(f["test"]["accuracy"] for f in mine)
        error = math.sqrt(test * (1 - test) / mine[0]["test"]["n"])
        print(
            f"| {agent} | {len(mine)} | {statistics.median(validation):.2%} "
            f"({validation[0]:.2%} .. {validation[-1]:.2%}) | {test:.2%} | {error:.2%} "
            f"| {max(f['compressed']['size'] for f in mine):,} "
            f"| {max(f['evaluations'] for f in mine)} "
            f"| {statistics.median(f['wall'] for f in mine) / 60:.1f} |"
        )


if __name__ == "__main__":
    main()
