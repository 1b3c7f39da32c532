"""Where the plan departs from the exact solver's, and what that was worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autocomp.inspection.ablation import LayerAblation
from autocomp.inspection.findings import Findings
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Prose, Table
from autocomp.reports.html.figures import Key, Panel, Rows, Trace, colour, plain, wrapped
from autocomp.reports.html.page import Section
from autocomp.reports.sections.wording import capital, change, plural, sentence, signed

_TITLE = "Differences from the exact solver's plan"


def ablations(record: RunRecord) -> Section | None:
    """Returns the ablations, or that there are none; a reason if they are missing; None else."""
    found = record.findings
    if found is None:
        return None
    reason = found.left_out.get("ablations", "")
    remark = (Prose((sentence(reason),)),) if reason else ()
    if not found.ablations and reason:
        return Section("ablations", _TITLE, "", remark)
    if not found.ablations:
        if not found.curves:
            return None
        same = "Every layer has the exact solver's choice: the search found nothing better."
        return Section("ablations", _TITLE, same)
    rows, unit = found.ablations, found.unit
    paid = sum(row.divergence < 0 for row in rows)
    hover = [_hover(row, found) for row in rows]
    metric = found.metric
    nats, scale = metric.divergence_unit, 100 if metric.percent else 1
    quality = f"{capital(metric.name)} ({'points, ' if metric.percent else ''}F1)"
    good = 1 if metric.larger_is_better else -1
    plot = Rows(
        "What each difference was worth",
        [row.layer for row in rows],
        (
            _panel(f"Estimated divergence ({nats}, F0)", rows, hover, lambda d: d.estimated, -1),
            _panel(f"Measured divergence ({nats}, F1)", rows, hover, lambda d: d.divergence, -1),
            _panel(quality, rows, hover, lambda d: scale * d.quality, good),
            _panel(f"Takes ({unit})", rows, hover, lambda d: d.cost, 0),
        ),
        note="The plan as it is, less the plan with this one layer put back.",
        keys=(Key("departing paid", "compressed", "bar"), Key("it cost", "dense", "bar")),
    )
    lead = (
        f"The plan differs from the solver's in {plural(len(rows), 'layer')}. By the measured "
        f"divergence, departing paid in {paid} of them: there the sum of single layers' errors, "
        "which the solver minimises, misjudges how they act together."
    )
    return Section("ablations", _TITLE, lead, (plot, *remark, _table(rows, found)))


def _panel(
    title: str,
    rows: Sequence[LayerAblation],
    hover: Sequence[str],
    value: Callable[[LayerAblation], float],
    good: int,
) -> Panel:
    """Returns bars, coloured by whether their sign is `good` (0: neither is)."""
    values = [value(row) for row in rows]
    shades = ["soft" if not good else "compressed" if v * good >= 0 else "dense" for v in values]
    bar: Trace = {
        "type": "bar",
        "y": list(range(len(rows))),
        "x": values,
        "hovertext": list(hover),
        "hoverinfo": "text",
        "marker": {"color": [colour(shade) for shade in shades]},
    }
    return Panel(title, (bar,), {"zeroline": True, "exponentformat": "power"}, 130)


def _hover(row: LayerAblation, found: Findings) -> str:
    metric, unit = found.metric, found.unit
    nats = metric.divergence_unit
    over = "" if row.within_budget else "<br>put back, the plan would miss a budget"
    return (
        f"<b>{wrapped(row.layer, 34)}</b><br>plan: {wrapped(row.chosen)}<br>"
        f"solver: {wrapped(row.solver)}<br>estimated {signed(row.estimated)} {nats}<br>"
        f"measured {signed(row.divergence)} {nats}<br>"
        f"{metric.name} {change(metric, row.quality)}<br>"
        f"takes {signed(row.cost, ',d')} {plain(unit)}{over}"
    )


def _table(rows: Sequence[LayerAblation], found: Findings) -> Table:
    metric, unit = found.metric, found.unit
    nats, points = metric.divergence_unit, " (points)" if metric.percent else ""
    return Table(
        ("layer", "plan", "solver", f"takes ({unit})", f"estimated ({nats})", f"measured ({nats})",
         f"{metric.name}{points}", "put back, within budget"),
        [
            (
                row.layer, row.chosen, row.solver, signed(row.cost, ",d"), signed(row.estimated),
                signed(row.divergence),
                signed(100 * row.quality, ".2f") if metric.percent else signed(row.quality),
                "yes" if row.within_budget else "no",
            )
            for row in rows
        ],
        "All differences as a table", texts=3, folded=True,
    )  # fmt: skip
