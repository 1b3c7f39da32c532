"""The plan of a run layer by layer, from whatever the run knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from autocomp.core.choice import Choice
from autocomp.inspection.record import RunRecord


@dataclass(frozen=True)
class PlannedRow:
    """A layer of the best plan; None where the run does not know a number.

    Attributes:
        name: the layer.
        kind: its kind; "" if unknown.
        shape: its weight's shape; () if unknown.
        choice: what is done to it, in words.
        sparsity: share of the remaining weights that are zero, in [0, 1].
        channels: share of the units that stay, in (0, 1].
        rank: share of the full rank that stays, in (0, 1].
        weight_bits: 2 to 32.
        dense_bytes, bytes: of the dense weight, and what it adds to the file.
        dense_macs, macs: multiply-accumulates of one example.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    choice: str
    sparsity: float
    channels: float
    rank: float
    weight_bits: int
    dense_bytes: int | None = None
    bytes: int | None = None
    dense_macs: int | None = None
    macs: int | None = None


def planned_rows(record: RunRecord) -> tuple[PlannedRow, ...]:
    """Returns the best plan's layers in order; () if the run has no outcome yet.

    The numbers are those of the findings if they are about the best plan, else of the closing
    figures, else of the plan alone.
    """
    if record.findings is not None and record.findings.layers and not is_outdated(record):
        return tuple(
            PlannedRow(
                layer.name, layer.kind, layer.shape, layer.choice, layer.sparsity, layer.channels,
                layer.rank, layer.weight_bits, layer.dense_bytes, layer.bytes, layer.dense_macs,
                layer.macs,
            )
            for layer in record.findings.layers
        )  # fmt: skip
    best = record.best
    if best is None:
        return ()
    known = {row.name: row for row in record.summary.layers} if record.summary else {}
    rows = []
    for name, choice in best.plan.items():
        row = known.get(name)
        rows.append(
            PlannedRow(
                name=name,
                kind=row.kind if row else "",
                shape=row.shape if row else (),
                choice=str(choice),
                sparsity=_sparsity(choice),
                channels=choice.structure.units,
                rank=choice.structure.rank,
                weight_bits=choice.weights.bits,
                dense_bytes=row.dense_bytes if row else None,
                bytes=row.bytes if row else None,
            )
        )
    return tuple(rows)


def is_outdated(record: RunRecord) -> bool:
    """Whether the findings are about another plan than the run's best."""
    found, best = record.findings, record.best
    return found is not None and best is not None and found.plan != best.plan.key


def _sparsity(choice: Choice) -> float:
    n, m = choice.weights.n_of_m
    return 1 - n / m if choice.weights.pattern else choice.weights.sparsity
