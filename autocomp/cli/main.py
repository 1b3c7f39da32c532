"""The command line; it and `commands` are the only places that print."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console

from autocomp.cli import listing, looking, networks, searching, training
from autocomp.cli.signals import Stopped, stopped_by_signals
from autocomp.errors import AutocompError
from autocomp.plugins.border import border


class _Parser(argparse.ArgumentParser):
    """Ends with one line and exit code 2, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        raise AutocompError(f"{message}; see `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 after one line for bad input.

    Interrupted, it returns 130; ended by SIGTERM 143, by SIGHUP 129.
    """
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with border("autocomp"), stopped_by_signals():
            given = _parser().parse_args(arguments)
            command: Any = given.run
            code: int = command(given)
            return code
    except AutocompError as error:
        line = " ".join(str(error).split())
        errors.print(f"autocomp: error: {line}", markup=False)
        return 2
    except KeyboardInterrupt as stopped:
        errors.print("autocomp: stopped; `autocomp resume RUN` continues.", markup=False)
        return 128 + (stopped.signal if isinstance(stopped, Stopped) else signal.SIGINT)


def _parser() -> _Parser:
    parser = _Parser(prog="autocomp", description="Searches how to compress a trained network.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for family in (searching, training, looking, networks, listing):
        family.add(commands)
    return parser
