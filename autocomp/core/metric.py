"""What a task's leading figure is called, which way it improves, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from autocomp.errors import AutocompError


@dataclass(frozen=True)
class Metric:
    """A figure of a network's quality.

    Attributes:
        name: as reports call it ("accuracy", "perplexity").
        larger_is_better: which way it improves.
        percent: whether it is a share, written in percent and compared in points.
        bounded: whether 1 is the best there is (accuracy, R2, cosine); such figures are compared as
            they are. Others (an error, a perplexity) are compared as shares of the dense network's.
        scale: the dense network's figure, where the metric is not bounded.
        divergence_unit: what the task measures in how far outputs are from the dense network's.
    """

    name: str = "accuracy"
    larger_is_better: bool = True
    percent: bool = True
    bounded: bool = True
    scale: float = 1.0
    divergence_unit: str = "nats"

    def __post_init__(self) -> None:
        """Raises AutocompError for a name or a scale that is none."""
        scale = self.scale
        number = isinstance(scale, (int, float)) and math.isfinite(scale) and scale > 0
        if not isinstance(self.name, str) or not self.name or not number:
            raise AutocompError(
                f"A metric needs a name and a positive scale, but got {self.name!r:.60} and "
                f"{scale!r:.60}; give both."
            )

    def of_dense(self, value: float) -> Metric:
        """Returns the metric of networks that are compared with a dense one of this figure."""
        if self.bounded or not math.isfinite(value) or value == 0:
            return self
        return replace(self, scale=abs(value))

    def utility(self, value: float) -> float:
        """Returns a number that is larger for better networks, and 1 for a dense or a perfect one.

        Bounded metrics: the figure itself, or 1 less it where smaller is better. Others: value /
        scale, or 2 - value / scale where smaller is better.
        """
        if self.bounded:
            return value if self.larger_is_better else 1 - value
        share = value / self.scale
        return share if self.larger_is_better else 2 - share

    def text(self, value: float) -> str:
        """Returns the figure as it is written: "91.25%" or "12.83"."""
        return f"{value:.2%}" if self.percent else f"{value:.5g}"

    def change(self, difference: float) -> str:
        """Returns a difference of two figures as it is written: "-1.20 points" or "+0.31"."""
        return f"{100 * difference:+.2f} points" if self.percent else f"{difference:+.4g}"

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Metric:
        """Reads `to_json`'s object; None stands for accuracy.

        Raises:
            TypeError, AutocompError: if it is damaged.
        """
        if values is None:
            return ACCURACY
        made = cls(**values)
        flags = (made.larger_is_better, made.percent, made.bounded)
        texts = isinstance(made.divergence_unit, str)
        if not texts or not all(isinstance(flag, bool) for flag in flags):
            raise TypeError(f"metric {dict(values)}")
        return made


ACCURACY = Metric()
"""Share of right top-1 predictions: what classifications are judged by."""
