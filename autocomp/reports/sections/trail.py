"""How the search went: best so far against evaluations and against seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from autocomp.core.metric import Metric
from autocomp.core.outcome import Outcome
from autocomp.core.score import Score
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import best_so_far, improvements
from autocomp.reports.html.figures import Figure, Gallery, Key, Mark, Trace, colour, wrapped
from autocomp.reports.html.page import Section
from autocomp.reports.sections.view import close_span
from autocomp.reports.sections.wording import capital, divergence_text, plural, quality_text, short

Measure = Callable[[Outcome], float]
_DASHES: tuple[tuple[str, Mark], ...] = (
    ("dash", "dashed"), ("dot", "dotted"), ("dashdot", "dashed"), ("longdash", "dashed"),
)  # fmt: skip


def search_trail(record: RunRecord) -> Section | None:
    """Returns the search's curves; None if nothing was evaluated."""
    if not record.screened:
        return None
    measured = [
        ("evaluations", lambda outcomes: range(1, len(outcomes) + 1)),
        ("seconds", lambda outcomes: accumulate(o.seconds for o in outcomes)),
    ]
    blocks = tuple(
        Gallery(
            f"Against {against}, show",
            [
                (name, _figure(record, measure, title, against, xs))
                for name, title, measure in _measures(record)
            ],
            half=True,
        )
        for against, xs in measured
    )
    return Section("search", "The search", _lead(record), blocks)


def _measures(record: RunRecord) -> tuple[tuple[str, str, Measure], ...]:
    name = record.metric.name
    title = f"{capital(name)} of the plan of greatest merit"
    return (
        ("merit", "Merit, what agents maximise", _merit),
        (name, title, lambda outcome: outcome.quality),
    )


def _merit(outcome: Outcome) -> float:
    return outcome.merit


def _lead(record: RunRecord) -> str:
    trail = best_so_far(record.screened)
    text = (
        "Every dot is one plan, evaluated on the search's subset (F1); the line is the best within "
        "budget so far. "
    )
    if not trail:
        return text + "No plan has met every budget."
    first, last = trail[0].best, trail[-1]
    found = next(point.evaluation for point in trail if point.best is last.best)
    text += (
        f"The first plan has merit {short(first.merit)}, the best {short(last.best.merit)}, found "
        f"after {plural(found, 'evaluation')} of {len(record.screened):,}."
    )
    if record.baselines:
        text += " Baselines had the same number of evaluations on the same problem."
    return text


Xs = Callable[[Sequence[Outcome]], Any]


def _figure(record: RunRecord, measure: Measure, title: str, against: str, xs: Xs) -> Figure:
    name = str(record.settings.get("agent", "search"))
    metric, axis = record.metric, "merit" if measure is _merit else record.metric.name

    def level(score: Score) -> float:
        return score.utility if axis == "merit" else score.quality

    screened = record.screened
    traces = [_dots(screened, measure, against, list(xs(screened)))]
    keys = [
        Key(f"{name}: best so far", "compressed"),
        Key("each plan", "compressed", "dot"),
        Key("first plan", "solver", "dotted"),
    ]
    traces.append(_best(screened, measure, against, xs, name, {"color": colour("compressed")}))
    end = max(xs(screened), default=1)
    for place, (agent, outcomes) in enumerate(record.baselines.items()):
        dash, mark = _DASHES[place % len(_DASHES)]
        shade = f"other-{place % 5 + 1}"
        line = {"color": colour(shade), "dash": dash}
        traces.append(_best(outcomes, measure, against, xs, agent, line))
        keys.append(Key(f"{agent} (baseline)", shade, mark))
        end = max(end, max(xs(outcomes), default=end))
    start = measure(screened[0])
    text = f"first plan<br>{_value(measure, screened[0])}"
    traces.append(_level(start, end, text, {"color": colour("solver"), "dash": "dot"}))
    if record.summary is not None:
        dense = record.summary.search_dense
        text = f"dense, whole search split<br>{metric.name} {metric.text(dense.quality)}"
        traces.append(_level(level(dense), end, text, {"color": colour("dense"), "dash": "dash"}))
        keys.append(Key("dense", "dense", "dashed"))
    kept = [start, *(measure(point.best) for point in best_so_far(screened))]
    if record.summary is not None:
        kept.append(level(record.summary.search_dense))
    shown, hidden = close_span([measure(outcome) for outcome in screened], kept)
    layout = {
        "xaxis": {"title": {"text": against}, "rangemode": "tozero"},
        "yaxis": {
            "title": {"text": axis},
            "tickformat": ".1%" if axis != "merit" and metric.percent else "",
            "range": shown,
        },
    }
    note = (
        f"The {metric.name} can worsen where a plan of greater merit takes over."
        if axis != "merit"
        else f"The dense network's merit is {_its(metric)}: it does not diverge from itself."
    )
    if hidden:
        note += f" {plural(hidden, 'plan')} far from the others: double-click to see all."
    return Figure(f"{title}, against {against}", traces, layout, 340, note=note, keys=tuple(keys))


def _its(metric: Metric) -> str:
    """Returns what the dense network's merit is, in words."""
    return f"its {metric.name}" if metric.bounded and metric.larger_is_better else "1"


def _dots(outcomes: Sequence[Outcome], measure: Measure, against: str, xs: list[Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": xs,
        "y": [measure(outcome) for outcome in outcomes],
        "hovertext": list(_texts(outcomes, measure)),
        "hoverinfo": "text",
        "marker": {
            "size": 6,
            "color": colour("compressed"),
            "opacity": 0.4,
            "symbol": ["circle" if o.within_budget else "x-thin-open" for o in outcomes],
        },
    }


def _texts(outcomes: Sequence[Outcome], measure: Measure) -> Iterator[str]:
    seconds = 0.0
    for number, outcome in enumerate(outcomes, 1):
        seconds += outcome.seconds
        over = "" if outcome.within_budget else "<br>misses a budget"
        yield f"plan {number:,} after {seconds:,.1f} s<br>{_value(measure, outcome)}{over}"


def _value(measure: Measure, outcome: Outcome) -> str:
    return f"merit {short(outcome.merit)}<br>{quality_text(outcome)}<br>{divergence_text(outcome)}"


def _best(
    outcomes: Sequence[Outcome], measure: Measure, against: str, xs: Xs, name: str,
    line: dict[str, Any],
) -> Trace:  # fmt: skip
    trail = best_so_far(outcomes)
    shown = [*improvements(trail), *trail[-1:]]
    places = list(xs(outcomes))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [places[point.evaluation - 1] for point in shown],
        "y": [measure(point.best) for point in shown],
        "hovertext": [
            f"{wrapped(name, 34)}, {plural(point.evaluation, 'evaluation')}, "
            f"{point.seconds:,.1f} s<br>best so far: {_value(measure, point.best)}"
            for point in shown
        ],
        "hoverinfo": "text",
        "line": {"width": 2.2, "shape": "hv", **line},
    }


def _level(height: float, end: float, text: str, line: dict[str, Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0, end],
        "y": [height, height],
        "hovertext": [text, text],
        "hoverinfo": "text",
        "line": {"width": 1.6, **line},
    }
