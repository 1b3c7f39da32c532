"""Progress of a search where a person looks on: a bar in a terminal, lines in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from autocomp.agents import OnOutcome
from autocomp.core.outcome import Outcome
from autocomp.reports.terminal.progress import SearchProgress


@contextmanager
def shown(n_evaluations: int, wanted: bool, on_outcome: OnOutcome | None) -> Iterator[OnOutcome]:
    """Yields what to call after each evaluation: it shows how far the search is, if wanted.

    Nothing is shown where nobody looks on, as in a log file or a pipe; the logger "autocomp" tells
    there.

    Args:
        n_evaluations: how many there will be.
        wanted: whether to show it.
        on_outcome: what the caller wants to be called, too.
    """
    console = Console(stderr=True)
    if not wanted or not (console.is_terminal or console.is_jupyter):
        yield on_outcome or _nothing
        return
    with SearchProgress(n_evaluations, console) as bar:

        def both(outcome: Outcome) -> None:
            bar.update(outcome)
            if on_outcome is not None:
                on_outcome(outcome)

        yield both


def _nothing(outcome: Outcome) -> None:
    """Does nothing with an outcome."""
