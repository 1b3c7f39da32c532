"""What was estimated against what was measured."""

from __future__ import annotations

from autocomp.core.outcome import Outcome
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Table
from autocomp.reports.html.figures import Key, Panel, Rows, colour, plain
from autocomp.reports.html.page import Section
from autocomp.reports.sections.wording import percent, signed, unit_of
from autocomp.runs.summary import Summary

_Row = tuple[str, str, int, int]


def measured(record: RunRecord) -> Section | None:
    """Returns estimates beside measurements; None while the run is not complete."""
    if record.summary is None or record.best is None:
        return None
    rows = _rows(record, record.summary, record.best)
    if not rows:
        return None
    shares = [100 * real / estimate if estimate else None for _, _, estimate, real in rows]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": shares,
        "y": list(range(len(rows))),
        "hovertext": [
            f"<b>{plain(name)}</b><br>estimated {estimate:,} {plain(unit)}<br>"
            f"measured {real:,} {plain(unit)}"
            for name, unit, estimate, real in rows
        ],
        "hoverinfo": "text",
        "marker": {"size": 13, "color": colour("compressed"), "symbol": "diamond"},
    }
    known = [share for share in shares if share is not None]
    low, high = min([99.0, *known]), max([101.0, *known])
    margin = 0.12 * (high - low)
    line = {
        "type": "scatter", "mode": "lines", "x": [100, 100], "y": [-0.5, len(rows) - 0.5],
        "hoverinfo": "skip", "line": {"color": colour("soft"), "dash": "dash", "width": 1.5},
    }  # fmt: skip
    axis = {"range": [low - margin, high + margin]}
    plot = Rows(
        "Measured, relative to the estimate",
        [name for name, *_ in rows],
        (Panel("% of the estimate", (line, dots), axis),),
        keys=(Key("measured", "compressed", "diamond"), Key("as estimated", "soft", "dashed")),
    )
    table = Table(
        ("", "estimated", "measured", "difference", "of the estimate"),
        [
            (f"{name} ({unit})", f"{estimate:,}", f"{real:,}", signed(real - estimate, ",d"),
             percent(real / estimate) if estimate else "")
            for name, unit, estimate, real in rows
        ],
    )  # fmt: skip
    lead = (
        "Budgets are met by sums over layers, which the search can compute before a file or a "
        "machine is there. Here is how far they were off."
    )
    return Section("measured", "Estimate against measurement", lead, (plot, table))


def _rows(record: RunRecord, summary: Summary, best: Outcome) -> list[_Row]:
    """Returns (what, unit, estimate, measurement)."""
    rows = []
    if "size" in best.costs and "size" in summary.compressed:
        unit = unit_of(record, "size")
        rows.append(("size, compressed", unit, best.costs["size"], summary.compressed["size"]))
    for name, (dense, compressed) in summary.measured.items():
        unit = unit_of(record, name)
        if name in summary.dense:
            rows.append((f"{name}, dense", unit, summary.dense[name], dense))
        if name in best.costs:
            rows.append((f"{name}, compressed", unit, best.costs[name], compressed))
    return rows
