"""A training in a terminal: its progress, and what it has changed."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autocomp.training import TrainingPoint


class TrainingProgress:
    """A progress bar; give its `update` to a training as `on_point`.

    Args:
        console: where it is shown; without a terminal, a line now and then.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._told = 0

    def update(self, point: TrainingPoint) -> None:
        """Shows a point."""
        look = "" if point.quality is None else f", search {point.quality:.4f}"
        text = f"loss {point.loss:.4f}, {point.bytes:,} bytes{look}"
        self._progress.update(self._task, completed=point.step, total=point.steps, description=text)
        tenth = 10 * point.step // point.steps
        if not self._console.is_terminal and tenth > self._told:
            self._told = tenth
            self._console.print(f"training {point.step}/{point.steps} {text}")

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
