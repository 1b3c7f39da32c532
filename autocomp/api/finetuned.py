"""What a training hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from autocomp.core.score import Score
from autocomp.training import TrainingPoint


@dataclass(frozen=True, repr=False, eq=False)
class FineTuned:
    """What a training hands back.

    Attributes:
        network: the network, in evaluation mode: the trained one, or the one before if that is
            better on the search split. `autocomp.save` writes it.
        data: its file's bytes.
        before: the score on the search split before.
        after: after.
        kept: whether `network` is the trained one.
        flipped: share of the codes that the training has changed.
        points: the curve.
        file: the file, where one was written.
    """

    network: nn.Module
    data: bytes
    before: Score
    after: Score
    kept: bool
    flipped: float
    points: tuple[TrainingPoint, ...]
    file: Path | None = None

    def __repr__(self) -> str:
        text = self.after.metric.text
        where = "" if self.file is None else f", {str(self.file)!r}"
        left = "" if self.kept else " (the network before is kept)"
        return (
            f"FineTuned({len(self.data):,} bytes, search {self.after.metric.name} "
            f"{text(self.before.quality)} before, {text(self.after.quality)} after{left}{where})"
        )
