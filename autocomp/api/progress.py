"""Progress of a search where a person looks on: a bar in a terminal, lines in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from autocomp.agents import OnOutcome
from autocomp.core.outcome import Outcome
from autocomp.core.stage import OnStage, untold
from autocomp.reports.terminal.progress import SearchProgress
from autocomp.reports.terminal.training import TrainingProgress
from autocomp.training import OnPoint, TrainingPoint
from autocomp.training import untold as unheard


@dataclass(frozen=True)
class Shown:
    """What to call as a search goes on.

    Attributes:
        on_outcome: after each evaluation.
        on_stage: after each piece of the work before them.
    """

    on_outcome: OnOutcome
    on_stage: OnStage


@contextmanager
def shown(n_evaluations: int, wanted: bool, on_outcome: OnOutcome | None) -> Iterator[Shown]:
    """Yields what to call as a search goes on: it shows how far the search is, if wanted.

    Nothing is shown where nobody looks on, as in a log file or a pipe; the logger "autocomp" tells
    there.

    Args:
        n_evaluations: how many there will be.
        wanted: whether to show it.
        on_outcome: what the caller wants to be called, too.
    """
    console = Console(stderr=True)
    if not wanted or not (console.is_terminal or console.is_jupyter):
        yield Shown(on_outcome or _nothing, untold)
        return
    with SearchProgress(n_evaluations, console) as bar:

        def both(outcome: Outcome) -> None:
            bar.update(outcome)
            if on_outcome is not None:
                on_outcome(outcome)

        yield Shown(both, bar.stage)


@contextmanager
def shown_training(wanted: bool, on_point: OnPoint | None) -> Iterator[OnPoint]:
    """Yields what to call as a training goes on: it shows how far it is, if wanted.

    Args:
        wanted: whether to show it.
        on_point: what the caller wants to be called, too.
    """
    console = Console(stderr=True)
    if not wanted or not (console.is_terminal or console.is_jupyter):
        yield on_point or unheard
        return
    with TrainingProgress(console) as bar:

        def both(point: TrainingPoint) -> None:
            bar.update(point)
            if on_point is not None:
                on_point(point)

        yield both


def _nothing(outcome: Outcome) -> None:
    """Does nothing with an outcome."""
