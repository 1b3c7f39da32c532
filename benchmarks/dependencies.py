"""What each dependency costs: size on disk, with what only it brings, and import time.

`python benchmarks/dependencies.py` prints the table of docs/installation.md. Run it in an
environment with every extra.
"""

from __future__ import annotations

import importlib.metadata
import re
import statistics
import subprocess
import sys

DEPENDENCIES = {
    "cmaes": ("cmaes", "the agent `cmaes`", "required"),
    "constriction": ("constriction", "the coder of every file", "required"),
    "safetensors": ("safetensors.torch", "the container of every file", "required"),
    "rich": ("rich.console", "the command line", "required"),
    "filelock": ("filelock", "run folders and caches; comes with torch", "required"),
    "jinja2": ("jinja2", "the report; comes with torch", "required"),
    "cattrs": ("cattrs", "`inspection.json`", "required"),
    "torch-pruning": ("torch_pruning", "which channels belong together", "required"),
    "scipy": ("scipy.optimize", "monotone curves of every search, `ilp`", "required"),
    "scikit-learn": ("sklearn.datasets", "the data set `digits`", "`digits`"),
    "plotly": ("plotly.offline", "the plots of the report", "`report`"),
    "pillow": ("PIL.Image", "pictures of the report, parquet", "`report`, `parquet`"),
    "tensorly": ("tensorly.decomposition", "tensor trains", "`tensor`"),
}
KEPT = ("torch", "numpy", "gymnasium", "stable-baselines3", "optuna")
"""Required whatever happens; what comes with these costs nothing more."""
STATEMENTS = (
    "pass", "import torch", "import autocomp", "from autocomp import Plan", "import autocomp.cli",
    "from autocomp import load; load", "from autocomp import search; search",
)  # fmt: skip


def closure(*names: str) -> set[str]:
    """Returns the distributions that come with these."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            waiting += [re.split(r"[ <>=!~;\[(]", n)[0] for n in needs if "extra ==" not in n]
    return found


def megabytes(names: set[str]) -> float:
    """Returns the size of the files of distributions."""
    total = 0
    for name in names:
        for file in importlib.metadata.files(name) or []:
            path = file.locate()
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e6


def seconds(statement: str, repeats: int = 5) -> float:
    """Returns the median time of a fresh Python that runs a statement."""
    timed = (
        "import time; start = time.perf_counter()\n"
        f"{statement}\n"
        "print(time.perf_counter() - start)"
    )  # fmt: skip
    runs = [
        float(subprocess.run([sys.executable, "-c", timed], capture_output=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return statistics.median(runs)


def main() -> None:
    """Prints both tables."""
    base = closure(*KEPT)
    print("| library | MB | MB with what only it brings | import (ms) | needed by | decision |")
    print("|---|---:|---:|---:|---|---|")
    for name, (module, used, decision) in DEPENDENCIES.items():
        own = {name} - base
        more = closure(name) - base
        print(
            f"| {name} | {megabytes(own):.1f} | {megabytes(more):.1f} | "
            f"{1000 * seconds(f'import {module}'):.0f} | {used} | {decision} |"
        )
    print(f"\ntorch and the other four with all they bring: {megabytes(base):,.0f} MB\n")
    print("| statement | ms |\n|---|---:|")
    for statement in STATEMENTS:
        print(f"| `{statement}` | {1000 * seconds(statement):.0f} |")


if __name__ == "__main__":
    main()
