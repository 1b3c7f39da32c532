"""The progress line of a search: evaluations done, best so far, time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of


class SearchProgress:
    """A progress bar; give its `update` to a search as `on_outcome`."""

    def __init__(self, n_evaluations: int, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._total = n_evaluations
        self._task = self._progress.add_task("search", total=n_evaluations, best="")
        self._best: Outcome | None = None
        self._count = 0

    def update(self, outcome: Outcome) -> None:
        """Counts one outcome."""
        if outcome.fidelity is Fidelity.SCREEN:
            self._count += 1
            self._best = best_of([o for o in (self._best, outcome) if o is not None])
        text = "" if self._best is None else f"best {self._best.accuracy:.2%}"
        self._progress.update(self._task, completed=self._count, best=text)
        # without a terminal, a line now and then
        step = max(1, self._total // 10)
        if (
            not self._console.is_terminal
            and outcome.fidelity is Fidelity.SCREEN
            and self._count % step == 0
        ):
            self._console.print(f"search {self._count}/{self._total} {text}")

    def __enter__(self) -> SearchProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
