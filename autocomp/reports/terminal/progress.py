"""The progress line of a search: what is done of its tables, then of its evaluations; time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from autocomp.core.fidelity import Fidelity
from autocomp.core.outcome import Outcome, best_of
from autocomp.core.stage import Stage


class SearchProgress:
    """A progress bar; give its `update` to a search as `on_outcome`, its `stage` as `on_stage`.

    Each stage of the work before the first evaluation has a line of its own while it lasts.
    """

    def __init__(self, n_evaluations: int, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._console = console
        self._total = n_evaluations
        self._task = self._progress.add_task(
            "search", total=n_evaluations, best="", done=f"0/{n_evaluations}", start=False
        )
        self._stage: tuple[str, TaskID] | None = None
        self._best: Outcome | None = None
        self._count = 0

    def stage(self, stage: Stage) -> None:
        """Shows how far a stage before the first evaluation is."""
        if self._stage is not None and (self._stage[0] != stage.name or stage.done == 0):
            self._end_stage()
        if self._stage is None:
            if not self._console.is_terminal:
                self._console.print(f"{stage.name} ...")
            task = self._progress.add_task(stage.name, total=stage.total, best="", done="0 %")
            self._stage = stage.name, task
        share = f"{100 * stage.done / stage.total:.0f} %"
        self._progress.update(self._stage[1], completed=stage.done, done=share)
        if stage.done >= stage.total:
            self._end_stage()

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._progress.remove_task(self._stage[1])
            self._stage = None

    def update(self, outcome: Outcome) -> None:
        """Counts one outcome."""
        if not self._count:
            self._progress.start_task(self._task)
        if outcome.fidelity is Fidelity.SCREEN:
            self._count += 1
            self._best = best_of([o for o in (self._best, outcome) if o is not None])
        text = "" if self._best is None else f"best {self._best.metric.text(self._best.quality)}"
        self._progress.update(
            self._task, completed=self._count, best=text, done=f"{self._count}/{self._total}"
        )
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
