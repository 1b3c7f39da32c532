"""What identifies the code that makes tables: other mathematics, other tables."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path

import torch

COVERED = ("artifacts", "compression", "core", "costs", "data", "network", "problem", "tasks")
"""Packages whose code a table may depend on, whole: a table that is made anew costs a minute, one
that is stale costs the truth."""
EXEMPT = {
    "allocation": "picks among tables and writes none",
    "errors": "words",
    "models": "the network's fingerprint and its logits are in the key",
    "plugins": "finds what is named; the compressors' own code is in the key",
    "runtime": "times networks; the latency table has a key of its own",
    "storage": "reads and writes bytes",
    "training": "changes networks after their tables, and writes none",
}
"""Packages below a problem that no table depends on, and why."""


@cache
def source_digest(*compressors: type) -> str:
    """Returns a digest of the code that makes tables, and of torch's version.

    Args:
        compressors: the classes that make compressed weights; the whole package of one that is
            not ours counts, too.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    for file in (*covered_files(Path(__file__).parents[1]), *_foreign_files(compressors)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def covered_files(root: Path) -> list[Path]:
    """Returns the covered modules of a package that lies at `root`, in order."""
    return sorted(file for name in COVERED for file in (root / name).rglob("*.py"))


def _foreign_files(compressors: tuple[type, ...]) -> list[Path]:
    """Returns the source of the packages that classes, and what they inherit from, lie in."""
    found: set[Path] = set()
    for base in {base for kind in compressors for base in kind.__mro__}:
        top = base.__module__.partition(".")[0]
        if top in ("autocomp", "torch") or top in sys.stdlib_module_names:
            continue
        folders = list(vars(sys.modules.get(top, sys)).get("__path__", ()))
        found.update(file for folder in folders for file in Path(folder).rglob("*.py"))
        try:
            found.add(Path(inspect.getfile(base)))
        except (OSError, TypeError):  # made at a prompt: it has no file
            continue
    return sorted(file for file in found if file.is_file())
