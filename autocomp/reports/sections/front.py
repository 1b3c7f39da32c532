"""The front of quality against cost, of everything that was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocomp.core.fidelity import Fidelity
from autocomp.core.metric import ACCURACY
from autocomp.core.outcome import Outcome
from autocomp.core.score import Score
from autocomp.inspection.agreement import agreements
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import pareto_front
from autocomp.reports.html.blocks import Prose
from autocomp.reports.html.figures import Figure, Gallery, Key, Trace, colour, plain
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.view import close_span, span
from autocomp.reports.sections.wording import (
    capital,
    cost_label,
    costs_of,
    divergence_text,
    limits_of,
    plural,
    quality_text,
    unit_of,
)

_LEVELS = {"F2": ("other-1", "square-open", "whole search split (F2)"),
           "F2S": ("solver", "diamond", "reconstructed (F2S)"),
           "F3": ("other-2", "cross", "after a short training (F3)")}  # fmt: skip


def front(record: RunRecord) -> Section | None:
    """Returns one plot a cost; None if nothing was evaluated."""
    costs = costs_of(record)
    if not costs:
        return None
    figures = [(cost_label(record, cost), _figure(record, cost)) for cost in costs]
    side = "Up" if record.metric.larger_is_better else "Down"
    blocks: tuple[Block, ...] = (Gallery("Cost", figures), *_levels(record))
    lead = (
        f"{side} and to the left is better. Plans on the line are undercut by no other plan of the "
        "search (F1); finalists are on the whole search split, so compare them with each other."
    )
    return Section("front", f"{capital(record.metric.name)} against cost", lead, blocks)


def _levels(record: RunRecord) -> tuple[Prose, ...]:
    """Returns how the levels' orders agree with that after a short training, if it is known."""
    told = agreements(record.outcomes)
    if not told:
        return ()
    each = ", ".join(f"{a.level.value} {a.tau:+.2f} ({a.seconds:.1f} s a plan)" for a in told)
    text = (
        f"Kendall's tau of each level with the order after a short training (F3), over "
        f"{plural(told[0].n, 'plan')}: {each}."
    )
    return (Prose((text,)),)


def _figure(record: RunRecord, cost: str) -> Figure:
    known = [o for o in record.outcomes if cost in o.costs]
    screened = [o for o in known if o.fidelity is Fidelity.SCREEN]
    feasible = [o for o in screened if o.within_budget]
    unit, best, limit = unit_of(record, cost), record.best, limits_of(record).get(cost)
    keys = [Key("each plan (F1)", "compressed", "dot"), Key("front of these", "compressed")]
    metric = record.metric
    finals = [o for o in known if o.fidelity is not Fidelity.SCREEN]
    bars = _bars(record, finals)
    traces = [_dots(screened, cost, unit), _line(pareto_front(feasible, cost), cost, unit)]
    for level, (shade, symbol, name) in _LEVELS.items():
        found = [o for o in known if o.fidelity == level]
        if found:
            traces.append(_finalists(found, cost, unit, shade, symbol, bars))
            keys.append(Key(name, shade, "diamond" if symbol == "diamond" else "square"))
    if best is not None and cost in best.costs:
        traces.append(_chosen(best, cost, unit))
        keys.append(Key("handed back" if record.summary else "best so far", "ink", "ring"))
    shapes: list[dict[str, Any]] = []
    kept = [o.quality + side * (bars.get(id(o)) or 0) for o in finals for side in (-1, 1)]
    if record.summary is not None:
        dense = record.summary.search_dense.quality
        kept.append(dense)
        shapes.append(_rule("y", dense, "dense", "dash"))
        keys.append(Key(f"dense {metric.name}, {metric.text(dense)}", "dense", "dashed"))
    widths: list[float] = [o.costs[cost] for o in known]
    if limit is not None:
        widths.append(limit)
        shapes.append(_rule("x", limit, "soft", "solid"))
        keys.append(Key(f"budget, {limit:,} {unit}", "soft"))
    heights_shown, hidden = close_span([o.quality for o in known], kept)
    layout = {
        "xaxis": {
            "title": {"text": plain(cost_label(record, cost))},
            "range": span(widths),
            "tickformat": ",d" if max(widths) < 1e6 else "",
        },
        "yaxis": {
            "title": {"text": metric.name},
            "tickformat": ".1%" if metric.percent else "",
            "range": heights_shown,
        },
        "shapes": shapes,
    }
    title = f"{capital(metric.name)} against {cost_label(record, cost)}"
    note = "The bars of finalists are one standard error." if bars else ""
    if hidden:
        note += f" {plural(hidden, 'plan')} far from the others: double-click to see all."
    return Figure(title, traces, layout, 440, note=note, keys=tuple(keys))


def _bars(record: RunRecord, finalists: Sequence[Outcome]) -> dict[int, float]:
    """Returns the standard errors of finalists, where they are known: of shares, and at the end."""
    found = {}
    for outcome in finalists:
        if outcome.metric == ACCURACY:
            score = Score(outcome.quality, outcome.loss, outcome.n)
            found[id(outcome)] = score.standard_error
        elif record.summary is not None and record.summary.search.quality == outcome.quality:
            found[id(outcome)] = record.summary.search.standard_error
    return found


def _rule(axis: str, at: float, shade: str, dash: str) -> dict[str, Any]:
    other = "x" if axis == "y" else "y"
    ends = {f"{axis}0": at, f"{axis}1": at, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {
        "type": "line", **ends,
        "line": {"color": colour(shade), "dash": dash, "width": 1.6},
    }  # fmt: skip


def _points(outcomes: Sequence[Outcome], cost: str, unit: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [o.costs[cost] for o in outcomes],
        "y": [o.quality for o in outcomes],
        "hovertext": [_text(o, cost, unit) for o in outcomes],
        "hoverinfo": "text",
    }


def _text(outcome: Outcome, cost: str, unit: str) -> str:
    over = "" if outcome.within_budget else "<br>misses a budget"
    return (
        f"{outcome.fidelity}: {quality_text(outcome)}<br>"
        f"{outcome.costs[cost]:,} {plain(unit)}<br>{divergence_text(outcome)}{over}"
    )


def _dots(outcomes: Sequence[Outcome], cost: str, unit: str) -> Trace:
    symbols = ["circle" if o.within_budget else "x-thin-open" for o in outcomes]
    marker = {"size": 7, "opacity": 0.45, "color": colour("compressed"), "symbol": symbols}
    return {**_points(outcomes, cost, unit), "mode": "markers", "marker": marker}


def _line(outcomes: Sequence[Outcome], cost: str, unit: str) -> Trace:
    line = {"color": colour("compressed"), "width": 2, "shape": "hv"}
    return {**_points(outcomes, cost, unit), "mode": "lines", "line": line}


def _finalists(
    outcomes: Sequence[Outcome], cost: str, unit: str, shade: str, symbol: str,
    errors: Mapping[int, float],
) -> Trace:  # fmt: skip
    bars = [errors.get(id(o), 0.0) for o in outcomes]
    return {
        **_points(outcomes, cost, unit),
        "mode": "markers",
        "marker": {
            "size": 10,
            "symbol": symbol,
            "color": colour(shade),
            "line": {"width": 2, "color": colour(shade)},
        },
        "error_y": {"array": bars, "color": colour(shade), "thickness": 1.2, "width": 4},
    }


def _chosen(outcome: Outcome, cost: str, unit: str) -> Trace:
    marker = {"size": 19, "symbol": "circle-open", "color": colour("ink"), "line": {"width": 2}}
    return {**_points([outcome], cost, unit), "mode": "markers", "marker": marker}
