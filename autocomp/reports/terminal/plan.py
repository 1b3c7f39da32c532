"""The head of a run and its plan, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from autocomp.inspection.record import RunRecord
from autocomp.reports.terminal.grid import Cell, grid, pairs
from autocomp.reports.terminal.sparkline import bar
from autocomp.reports.terminal.strokes import Strokes
from autocomp.runs.layer_result import LayerResult

WIDTH = 6
"""Blocks of a whole bar."""


def head(record: RunRecord) -> Table:
    """Returns what was searched, how, and whether it was finished."""
    settings, summary = record.settings, record.summary
    screened = record.screened
    done = summary.evaluations if summary else len(screened)
    seconds = summary.seconds if summary else sum(o.seconds for o in screened)
    limits = summary.limits.items() if summary else ()
    budgets = ", ".join(settings.get("budget", ()))
    within = ", ".join(f"<= {limit:,} {summary.units[c]}" for c, limit in limits) if summary else ""
    best = record.best
    values: list[tuple[str, Cell]] = [
        ("network", " ".join(filter(None, (settings.get("model"), settings.get("weights"))))),
        ("data", str(settings.get("data", ""))),
        ("budgets", f"{budgets} ({within})" if within else budgets),
        ("agent", str(settings.get("agent", ""))),
        ("space", str(settings.get("space", ""))),
        ("warm start", str(settings.get("warm_start", ""))),
        ("seed", str(settings.get("seed", ""))),
        ("evaluations", f"{done} of {settings.get('evaluations', '?')} in {seconds:,.1f} s"),
        ("state", "complete" if summary else "stopped early"),
    ]
    if best is None:
        values.append(("best plan", "no plan within the budgets yet"))
    else:
        costs = ", ".join(f"{cost} {value:,}" for cost, value in best.costs.items())
        where = f"{best.fidelity}, {best.n:,} images"
        told = f"{best.metric.name} {best.metric.text(best.quality)}"
        values.append(("best plan", f"{told} ({where}); {costs}"))
    return pairs(f"Run {record.name}", values)


def plan_table(rows: Sequence[LayerResult]) -> Table:
    """Returns the plan layer by layer with bars, and the sums; rank and channels only if lowered.

    A whole bar of bits means 8 and more.
    """
    sized = any(row.bytes is not None for row in rows)
    counted = any(row.macs is not None for row in rows)
    columns = ["layer", "choice", "zero"]
    columns += ["channels"] if any(row.channels < 1 for row in rows) else []
    columns += ["rank"] if any(row.rank < 1 for row in rows) else []
    columns += ["bits"]
    columns += ["bytes", "saved"] if sized else []
    columns += ["MACs", "less"] if counted else []
    table = grid(
        "The plan, layer by layer", columns, [_cells(row, columns) for row in rows],
        numbers={"bytes", "saved", "MACs", "less"},
    )  # fmt: skip
    if sized or counted:
        table.add_section()
        table.add_row(*_sums(rows, columns))
    return table


def _cells(row: LayerResult, columns: Sequence[str]) -> list[Cell]:
    size, macs = row.bytes, row.macs
    cells: dict[str, Cell] = {
        "layer": row.name,
        "choice": row.choice,
        "zero": Strokes(bar(row.sparsity, WIDTH)),
        "channels": Strokes(bar(row.channels, WIDTH)),
        "rank": Strokes(bar(row.rank, WIDTH)),
        "bits": Strokes(bar(row.weight_bits / 8, WIDTH), str(row.weight_bits), WIDTH),
        "bytes": "" if size is None else f"{size:,}",
        "saved": "" if size is None or row.dense_bytes is None else f"{row.dense_bytes - size:,}",
        "MACs": "" if macs is None else f"{macs:,}",
        "less": _lost(row.dense_macs, macs),
    }
    return [cells[name] for name in columns]


def _sums(rows: Sequence[LayerResult], columns: Sequence[str]) -> list[str]:
    size, dense = sum(r.bytes or 0 for r in rows), sum(r.dense_bytes or 0 for r in rows)
    macs, dense_macs = sum(r.macs or 0 for r in rows), sum(r.dense_macs or 0 for r in rows)
    cells = {
        "layer": "all layers",
        "bytes": f"{size:,}",
        "saved": f"{dense - size:,}",
        "MACs": f"{macs:,}",
        "less": _lost(dense_macs, macs),
    }
    return [cells.get(name, "") for name in columns]


def _lost(before: int | None, after: int | None) -> str:
    """Returns the share that is gone, as "-44.1%"."""
    return "" if not before or after is None else f"{after / before - 1:+.1%}"
