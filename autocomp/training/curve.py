"""What a training tells on its way: one point now and then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autocomp.errors import RunError


@dataclass(frozen=True)
class TrainingPoint:
    """A training, as far as it is.

    Attributes:
        step: steps that are done.
        steps: all of them.
        loss: mean of the loss since the point before.
        lr: learning rate of the codes, or of the floating weights.
        bytes: the file's length, about: the codes' entropies and what does not change.
        flipped: share of the codes that differ from those at the start.
        seconds: since the start, pauses left out.
        quality: figure on search samples; None where it was not looked at.
    """

    step: int
    steps: int
    loss: float
    lr: float
    bytes: int
    flipped: float
    seconds: float
    quality: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object, one line of `training.jsonl`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingPoint:
        """Reads `to_json`'s object; RunError if a field is missing or of another kind."""
        try:
            quality = values["quality"]
            return cls(
                int(values["step"]), int(values["steps"]), float(values["loss"]),
                float(values["lr"]), int(values["bytes"]), float(values["flipped"]),
                float(values["seconds"]), None if quality is None else float(quality),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise RunError(
                f"A line of training.jsonl must hold a point of a training, but {error!r} is "
                "wrong; delete the file, and train again."
            ) from None


OnPoint = Callable[[TrainingPoint], None]


def untold(point: TrainingPoint) -> None:
    """Tells nobody."""
