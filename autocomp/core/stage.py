"""How far the work is that comes before the first evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True)
class Stage:
    """A stage of the work, as far as it is.

    Attributes:
        name: "calibration", "tables", "estimates", "options" or "losses".
        done: what is done of it, in units of its own.
        total: all of it, in the same units; positive.
    """

    name: str
    done: float
    total: float


OnStage = Callable[[Stage], None]


def untold(stage: Stage) -> None:
    """Tells nobody."""


class StageCount:
    """Adds up what is done of one stage, from any thread, and tells each time.

    Args:
        name: of the stage.
        total: all of its work.
        tell: called at once with nothing done, and after each piece.
    """

    def __init__(self, name: str, total: float, tell: OnStage) -> None:
        self._name, self._total, self._tell = name, max(total, 1e-9), tell
        self._done = 0.0
        self._lock = Lock()
        tell(Stage(name, 0.0, self._total))

    def add(self, work: float) -> None:
        """Counts a piece as done."""
        with self._lock:
            self._done = min(self._done + work, self._total)
            self._tell(Stage(self._name, self._done, self._total))
