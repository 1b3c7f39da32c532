"""A network's quality on some samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocomp.core.metric import ACCURACY, Metric

WORST = 1e9
"""Stands for a loss, or the distance of a figure from 0, that is not finite."""


@dataclass(frozen=True)
class Score:
    """A network's quality on `n` samples.

    Attributes:
        quality: the figure of the task's leading metric; for classifications the accuracy.
        loss: mean of the task's loss, for classifications the cross-entropy in nats; 0 where there
            are no targets.
        n: number of samples.
        metric: what `quality` is a figure of.
        error: standard error of `quality`; None for that of a share, sqrt(p (1 - p) / n); `WORST`
            where it cannot be told.
    """

    quality: float
    loss: float
    n: int
    metric: Metric = ACCURACY
    error: float | None = None

    @property
    def accuracy(self) -> float:
        """The quality of a classification; AttributeError where another metric leads."""
        return accuracy_of(self.quality, self.metric)

    @property
    def utility(self) -> float:
        """The quality as a number that is larger for better networks, see `Metric.utility`."""
        return self.metric.utility(self.quality)

    @property
    def standard_error(self) -> float:
        """Standard error of the quality."""
        if self.error is not None:
            return self.error
        return math.sqrt(max(self.quality * (1 - self.quality), 0.0) / self.n)

    @property
    def error_text(self) -> str:
        """The standard error, in words where it is not known."""
        unknown = self.standard_error >= WORST
        return "unknown" if unknown else self.metric.text(self.standard_error)

    def __str__(self) -> str:
        """Returns the quality with its standard error: "91.25% +- 0.40%"."""
        return f"{self.metric.text(self.quality)} +- {self.error_text}"

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object; of a classification with the key "accuracy"."""
        told: dict[str, Any] = quality_json(self.quality, self.metric)
        told |= {"loss": self.loss, "n": self.n}
        return told if self.error is None else {**told, "error": self.error}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Score:
        """Reads `to_json`'s object.

        Raises:
            KeyError, TypeError, ValueError, AutocompError: if it is damaged.
        """
        quality, metric = quality_of(values)
        loss, n, error = values["loss"], values["n"], values.get("error")
        if not _is_number(loss) or type(n) is not int or n < 1:
            raise ValueError(f"loss {loss!r:.40} of {n!r:.40} samples")
        if error is not None and not (_is_number(error) and error >= 0):
            raise ValueError(f"error {error!r:.40}")
        return cls(quality, float(loss), n, metric, error)


def accuracy_of(quality: float, metric: Metric) -> float:
    """Returns a figure of accuracy; AttributeError if it is one of another metric."""
    if metric.name != ACCURACY.name:
        raise AttributeError(f"The metric is {metric.name}, not accuracy; read `quality`.")
    return quality


def quality_json(quality: float, metric: Metric) -> dict[str, Any]:
    """Returns a figure and its metric as entries of a JSON object."""
    if metric == ACCURACY:
        return {"accuracy": quality}
    return {"quality": quality, "metric": metric.to_json()}


def quality_of(values: Mapping[str, Any]) -> tuple[float, Metric]:
    """Reads `quality_json`'s entries.

    Raises:
        KeyError, TypeError, ValueError, AutocompError: if they are damaged.
    """
    if "accuracy" in values:
        quality, metric = values["accuracy"], ACCURACY
    else:
        quality, metric = values["quality"], Metric.from_json(values["metric"])
    if not _is_number(quality) or (metric.percent and metric.bounded and not 0 <= quality <= 1):
        raise ValueError(f"{metric.name} {quality!r:.40}")
    return float(quality), metric


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
