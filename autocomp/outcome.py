"""A plan that was evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autocomp.errors import AutocompError, RunError
from autocomp.plan import Plan

FIDELITIES = ("F1", "F2")
"""F1: a fixed subset of the search split; F2: the whole search split."""


@dataclass(frozen=True)
class Outcome:
    """What evaluating a plan gave.

    Attributes:
        plan: the plan.
        accuracy: share of right predictions on the search images, in [0, 1].
        loss: mean cross-entropy on them, in nats.
        n: how many search images.
        costs: cost name -> whole number, for every registered cost that is measured.
        within_budget: whether every budget holds.
        fidelity: "F1" or "F2", see `FIDELITIES`.
        seconds: how long the evaluation took.
    """

    plan: Plan
    accuracy: float
    loss: float
    n: int
    costs: Mapping[str, int]
    within_budget: bool
    fidelity: str
    seconds: float

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sorts outcomes: feasible first, then accuracy, then loss; larger is better."""
        return (self.within_budget, self.accuracy, -self.loss)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object, one line of `outcomes.jsonl`."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n": self.n,
            "costs": dict(self.costs),
            "within_budget": self.within_budget,
            "fidelity": self.fidelity,
            "seconds": self.seconds,
            "plan": self.plan.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Outcome:
        """Reads `to_json`'s object; RunError if a field is missing or of the wrong kind."""
        try:
            return cls(
                plan=Plan.from_json(values["plan"]),
                accuracy=float(values["accuracy"]),
                loss=float(values["loss"]),
                n=int(values["n"]),
                costs={str(k): int(v) for k, v in values["costs"].items()},
                within_budget=bool(values["within_budget"]),
                fidelity=str(values["fidelity"]),
                seconds=float(values["seconds"]),
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
