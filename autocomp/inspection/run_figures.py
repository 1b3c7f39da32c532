"""What a comparison looks at in one run."""

from __future__ import annotations

from dataclasses import dataclass

from autocomp.core.metric import ACCURACY, Metric
from autocomp.inspection.grouping import seed_of
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import best_so_far


@dataclass(frozen=True)
class RunFigures:
    """The figures of one run.

    Attributes:
        name: the run folder's name.
        seed: the search's seed.
        complete: whether it was finished.
        search_quality: of the best plan; None without a plan within the budgets.
        search_images: on how many images: the whole search split, if the run came that far.
        test_quality: of the compressed network; None before the run is complete.
        size: bytes of the file; of the best plan, before there is one.
        evaluations: distinct plans evaluated.
        seconds: how long the search took.
        metric: what the qualities are figures of.
    """

    name: str
    seed: int
    complete: bool
    search_quality: float | None
    search_images: int
    test_quality: float | None
    size: int | None
    evaluations: int
    seconds: float
    metric: Metric = ACCURACY

    @classmethod
    def of(cls, record: RunRecord) -> RunFigures:
        """Returns a run's figures."""
        best, summary = record.best, record.summary
        costs = summary.compressed if summary else best.costs if best else {}
        return cls(
            name=record.name,
            seed=seed_of(record),
            complete=summary is not None,
            search_quality=best.quality if best else None,
            search_images=best.n if best else 0,
            test_quality=summary.test.quality if summary else None,
            size=costs.get("size"),
            evaluations=summary.evaluations if summary else len(record.screened),
            seconds=summary.seconds if summary else sum(o.seconds for o in record.screened),
            metric=record.metric,
        )


def merit_after(record: RunRecord, evaluations: int) -> float | None:
    """Returns the best merit (`Outcome.merit`) within the first evaluations.

    A complete run that evaluated fewer plans keeps its best; one that was stopped before has none,
    and so has one without a plan within the budgets by then.
    """
    screened = record.screened
    if record.summary is None and len(screened) < evaluations:
        return None
    trail = best_so_far(screened[:evaluations])
    return trail[-1].best.merit if trail else None
