"""The plan of a run layer by layer, from whatever the run knows of it."""

from __future__ import annotations

from dataclasses import replace

from autocomp.inspection.record import RunRecord
from autocomp.runs.layer_result import LayerResult


def planned_rows(record: RunRecord) -> tuple[LayerResult, ...]:
    """Returns the best plan's layers in order; () if the run has no outcome yet.

    The numbers are those of the findings if they are about the best plan, else of the closing
    figures, else of the plan alone.
    """
    if record.findings is not None and record.findings.layers and not is_outdated(record):
        return record.findings.layers
    best = record.best
    if best is None:
        return ()
    known = {row.name: row for row in record.summary.layers} if record.summary else {}
    rows = []
    for name, choice in best.plan.items():
        own, row = LayerResult.of_choice(name, choice), known.get(name)
        if row is not None:  # one of another version may know less of the choice
            own = replace(
                own, kind=row.kind, shape=row.shape, weights=row.weights, nonzeros=row.nonzeros,
                dense_bytes=row.dense_bytes, bytes=row.bytes, dense_macs=row.dense_macs,
                macs=row.macs, left=row.left,
            )  # fmt: skip
        rows.append(own)
    return tuple(rows)


def is_outdated(record: RunRecord) -> bool:
    """Whether the findings are about another plan than the run's best."""
    found, best = record.findings, record.best
    return found is not None and best is not None and found.plan != best.plan.key
