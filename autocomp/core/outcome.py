"""A plan that was evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autocomp.core.fidelity import Fidelity
from autocomp.core.metric import ACCURACY, Metric
from autocomp.core.plan import Plan
from autocomp.core.score import accuracy_of, quality_json, quality_of
from autocomp.errors import AutocompError, RunError


@dataclass(frozen=True)
class Outcome:
    """What evaluating a plan gave.

    Attributes:
        plan: the plan.
        quality: the figure of the task's leading metric on the search samples; for classifications
            the accuracy, in [0, 1].
        loss: mean of the task's loss on them; for classifications the cross-entropy in nats.
        n: how many search samples.
        costs: cost name -> whole number, for every registered cost that is measured.
        within_budget: whether every budget holds.
        fidelity: the level at which the plan was judged; its value ("F1") is taken, too.
        seconds: how long the evaluation took.
        divergence: how far the outputs on these samples are from the dense network's; for
            classifications the mean Kullback-Leibler divergence in nats.
        metric: what `quality` is a figure of.
        gap: the divergence of softened outputs, by which plans are ranked (`Task.gap`); the
            divergence itself if it is not given.
        held_out: the figure on those samples of the whole search split that F1 does not use, on
            which finalists are compared; None at F1, and where there are few.
    """

    plan: Plan
    quality: float
    loss: float
    n: int
    costs: Mapping[str, int]
    within_budget: bool
    fidelity: Fidelity
    seconds: float
    divergence: float = 0.0
    metric: Metric = ACCURACY
    gap: float | None = None
    held_out: float | None = None

    def __post_init__(self) -> None:
        """Raises AutocompError for an unknown level."""
        object.__setattr__(self, "fidelity", Fidelity.of(self.fidelity))

    @property
    def accuracy(self) -> float:
        """The quality of a classification; AttributeError where another metric leads."""
        return accuracy_of(self.quality, self.metric)

    @property
    def utility(self) -> float:
        """The quality as a number that is larger for better networks, see `Metric.utility`."""
        return self.metric.utility(self.quality)

    @property
    def merit(self) -> float:
        """Minus the gap: what agents maximise; 0 where the outputs are the dense network's.

        On few images the accuracies of good plans differ by less than their own error, and their
        order says next to nothing about other images; the gap needs no labels, and its order holds.
        `benchmarks/reward.py` prints both.
        """
        return 0.0 - (self.divergence if self.gap is None else self.gap)

    @property
    def rank(self) -> tuple[bool, float, float, float]:
        """Sorts outcomes: feasible first, then merit, quality and loss.

        On the whole split the quality on samples that proposed no plan takes the merit's place.
        """
        chosen = self.quality if self.held_out is None else self.held_out
        screened = self.fidelity is Fidelity.SCREEN
        first = self.merit if screened else self.metric.utility(chosen)
        return (self.within_budget, first, self.utility, -self.loss)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object, one line of `outcomes.jsonl`."""
        return {
            **quality_json(self.quality, self.metric),
            "loss": self.loss,
            "divergence": self.divergence,
            **({} if self.gap is None else {"gap": self.gap}),
            **({} if self.held_out is None else {"held_out": self.held_out}),
            "n": self.n,
            "costs": dict(self.costs),
            "within_budget": self.within_budget,
            "fidelity": self.fidelity.value,
            "seconds": self.seconds,
            "plan": self.plan.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        """Reads `to_json`'s object; RunError if a field is missing or of the wrong kind."""
        try:
            quality, metric = quality_of(values)
            gap, held_out = (
                None if values.get(x) is None else float(values[x]) for x in ("gap", "held_out")
            )
            numbers = [float(values[x]) for x in ("loss", "seconds", "divergence")]
            numbers += [x for x in (gap, held_out) if x is not None]
            if any(map(math.isnan, numbers)):
                raise ValueError(f"numbers {numbers}")
            counts = [values["n"], *values["costs"].values()]
            if not all(type(x) is int and abs(x) < 2**63 for x in counts) or values["n"] < 1:
                raise ValueError("counts")
            return cls(
                plan=Plan.from_json(values["plan"]),
                quality=quality,
                loss=float(values["loss"]),
                n=int(values["n"]),
                costs={str(k): int(v) for k, v in values["costs"].items()},
                within_budget=bool(values["within_budget"]),
                fidelity=Fidelity.of(values["fidelity"]),
                seconds=float(values["seconds"]),
                divergence=float(values["divergence"]),
                metric=metric,
                gap=gap,
                held_out=held_out,
            )
        except (
            KeyError, TypeError, ValueError, AttributeError, OverflowError, AutocompError,
        ) as error:  # fmt: skip
            raise RunError(
                f"A line of outcomes.jsonl must hold a whole outcome, but {error!r} is wrong."
            ) from None


def best_of(outcomes: Iterable[Outcome]) -> Outcome | None:
    """Returns the best feasible outcome, the earliest among equals; None if there is none."""
    feasible = [outcome for outcome in outcomes if outcome.within_budget]
    return max(feasible, key=lambda outcome: outcome.rank, default=None)
