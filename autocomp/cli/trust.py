"""The options of commands that open a run folder, which may come from somebody else."""

from __future__ import annotations

import argparse
from typing import Any

from autocomp.cli.console import say

TRUST = "let the run folder name code to import; what it names is printed first"


def add_trust(parser: Any) -> None:
    """Adds `--model`, `--data` and `--trust-run`."""
    parser.add_argument("--model", default=None, help="the run's network, named again")
    parser.add_argument("--data", default=None, help="the run's data, named again")
    parser.add_argument("--trust-run", action="store_true", help=TRUST)


def tell_trusted(given: argparse.Namespace, folder: str = "") -> None:
    """Prints the code that a run folder is trusted to name, before any of it is imported."""
    from autocomp.runs.folder import Run
    from autocomp.runs.settings import SearchConfig
    from autocomp.runs.trust import code_named

    if given.trust_run:
        run = Run.open(folder or given.folder)
        for name, text in code_named(SearchConfig.from_json(run.config()["settings"])).items():
            say(f"Trusted: {name} {text}")
