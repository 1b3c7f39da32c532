"""Plots of groups of runs: fronts, what was handed back, progress, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from autocomp.core.metric import Metric
from autocomp.inspection.comparison import Comparison
from autocomp.inspection.grouping import RunGroup, seed_of
from autocomp.inspection.paired import PairedDifference
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import best_so_far, pareto_front
from autocomp.reports.html.figures import (
    COLOURS,
    Figure,
    Key,
    Mark,
    Panel,
    Rows,
    Trace,
    colour,
    wrapped,
)
from autocomp.reports.terminal.comparison_tables import change_text, interval_text
from autocomp.reports.terminal.sparkline import thin

_COLOURS = COLOURS[:8]
_DASHES: tuple[tuple[Mark, str], ...] = (("line", "solid"), ("dashed", "dash"), ("dotted", "dot"))
_POINTS = 240
"""Points of a curve, at most."""


def fronts_figure(groups: Sequence[RunGroup]) -> Figure:
    """Returns the front of quality against size of every run, over its whole search."""
    traces: list[Trace] = []
    images: set[int] = set()
    metric = _metric(groups)
    for place, group in enumerate(groups):
        for record in group.records:
            front = pareto_front(record.screened)
            images |= {outcome.n for outcome in front}
            number = {id(o): at for at, o in enumerate(record.screened, 1)}
            said = [
                f"{metric.text(o.quality)} at {o.costs['size']:,} bytes"
                f"<br>evaluation {number[id(o)]}"
                for o in front
            ]
            drawn = {
                "mode": "lines+markers",
                "line": {"color": colour(_hue(place)), "dash": _dash(place), "shape": "hv"},
                "marker": {"color": colour(_hue(place)), "size": 6},
            }
            sizes = [o.costs["size"] for o in front]
            qualities = [o.quality for o in front]
            traces.append(_trace(sizes, qualities, said, group, record, drawn))
    split = ", ".join(f"{n:,}" for n in sorted(images)) or "no"
    return Figure(
        f"Fronts of {metric.name} against size, one line a run",
        traces,
        {"xaxis": {"title": {"text": "bytes"}}, "yaxis": _quality_axis("search", metric)},
        note=f"Everything that was evaluated during the search, on {split} search images.",
        keys=_keys(groups),
    )


def results_figure(groups: Sequence[RunGroup]) -> Figure:
    """Returns test quality against the file's size, a point for every complete run."""
    traces: list[Trace] = []
    for place, group in enumerate(groups):
        for record in group.records:
            summary = record.summary
            if summary is None:
                continue
            size, test = summary.compressed["size"], summary.test
            said = f"{test} at {size:,} bytes"
            drawn = {"mode": "markers", "marker": {"color": colour(_hue(place)), "size": 9}}
            traces.append(_trace([size], [test.quality], [said], group, record, drawn))
    return Figure(
        "What was handed back, one point a complete run",
        traces,
        {
            "xaxis": {"title": {"text": "bytes of the file"}},
            "yaxis": _quality_axis("test", _metric(groups)),
        },
        keys=tuple(Key(key.name, key.colour, "dot") for key in _keys(groups)),
    )


def progress_figure(groups: Sequence[RunGroup]) -> Figure:
    """Returns the best merit so far: the median of each group, and the range of its runs."""
    bands: list[Trace] = []
    lines: list[Trace] = []
    for place, group in enumerate(groups):
        points = _medians(group)
        if not points:
            continue
        xs = [point[0] for point in points]
        hue = colour(_hue(place))
        if len(group.records) > 1:
            right, low = _steps(xs, [point[1] for point in points])
            _, high = _steps(xs, [point[3] for point in points])
            bands.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "fill": "toself",
                    "hoverinfo": "skip",
                    "x": [*right, *reversed(right)],
                    "y": [*high, *reversed(low)],
                    "fillcolor": hue,
                    "line": {"color": hue, "width": 0},
                    "opacity": 0.2,
                }  # fmt: skip
            )
        said = [
            f"{wrapped(group.label)}<br>after {at}: median {middle:.4f}"
            f"<br>{low:.4f} to {high:.4f}, {n} run{'' if n == 1 else 's'}"
            for at, low, middle, high, n in points
        ]
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(xs) == 1 else "lines",
                "x": xs,
                "y": [p[2] for p in points],
                "line": {"color": hue, "dash": _dash(place), "shape": "hv"},
                "marker": {"color": hue},
                "text": said,
                "hovertemplate": "%{text}<extra></extra>",
            }  # fmt: skip
        )
    return Figure(
        "Best so far against evaluations: median of the runs, and their range",
        [*bands, *lines],
        {"xaxis": {"title": {"text": "evaluations"}}, "yaxis": {"title": {"text": "merit"}}},
        note="Merit, which agents maximise: minus the gap, the divergence of softened outputs.",
        keys=_keys(groups),
    )


def differences_rows(comparison: Comparison) -> Rows | None:
    """Returns every pair's mean differences with their intervals; None without any."""
    pairs = [pair for pair in comparison.pairs if pair.differences]
    measures = dict.fromkeys(d.measure for pair in pairs for d in pair.differences)
    if not measures:
        return None
    panels = []
    for measure in measures:
        found = [
            (row, d)
            for row, pair in enumerate(pairs)
            for d in pair.differences
            if d.measure == measure
        ]
        share = any(d.percent for _, d in found)
        axis = {"tickformat": "+.2~%" if share else "+.3~f", "zeroline": True, "zerolinewidth": 2}
        panels.append(Panel(measure, [_seeds(found), _means(found)], axis))
    return Rows(
        "Paired differences over common seeds",
        [f"{pair.first} less {pair.second}" for pair in pairs],
        panels,
        note="Right of zero the first is better. Lines: 95 % bootstrap intervals of the mean.",
        keys=(Key("mean", "compressed", "dot"), Key("one seed", "soft", "ring")),
    )


def _means(found: Sequence[tuple[int, PairedDifference]]) -> Trace:
    return {
        "type": "scatter", "mode": "markers", "x": [d.mean for _, d in found],
        "y": [row for row, _ in found], "marker": {"color": colour("compressed"), "size": 9},
        "error_x": {
            "type": "data", "symmetric": False, "color": colour("compressed"),
            "array": [0.0 if d.high is None else d.high - d.mean for _, d in found],
            "arrayminus": [0.0 if d.low is None else d.mean - d.low for _, d in found],
        },
        "text": [f"{change_text(d, d.mean)}, {interval_text(d)}" for _, d in found],
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _seeds(found: Sequence[tuple[int, PairedDifference]]) -> Trace:
    each = [
        (row, value, f"seed {seed}: {change_text(d, value)}")
        for row, d in found
        for seed, value in zip(d.seeds, d.values, strict=True)
    ]
    return {
        "type": "scatter", "mode": "markers", "x": [value for _, value, _ in each],
        "y": [row for row, _, _ in each], "text": [text for _, _, text in each],
        "marker": {"color": colour("soft"), "size": 7, "symbol": "circle-open"},
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _medians(group: RunGroup) -> list[tuple[int, float, float, float, int]]:
    """Returns (evaluations, least, median, largest merit, runs with one), at up to 240 counts.

    A complete run keeps its best where it evaluated fewer plans; one that was stopped ends there.
    """
    curves = []
    for record in group.records:
        merits = {point.evaluation: point.best.merit for point in best_so_far(record.screened)}
        curves.append((merits, len(record.screened), record.summary is not None))
    total = max(int(group.settings["evaluations"]), *(done for _, done, _ in curves))
    points = []
    for at in thin(range(1, total + 1), _POINTS):
        values = [
            merits[min(at, done)]
            for merits, done, complete in curves
            if (at <= done or complete) and min(at, done) in merits
        ]
        if values:
            points.append((at, min(values), median(values), max(values), len(values)))
    return points


def _steps(xs: Sequence[int], ys: Sequence[float]) -> tuple[list[int], list[float]]:
    """Returns the corners of a curve that keeps each value until the next one."""
    corners = [(x, y) for y, ends in zip(ys, pairwise([*xs, xs[-1]]), strict=True) for x in ends]
    return [x for x, _ in corners], [y for _, y in corners]


def _trace(
    xs: Sequence[int],
    ys: Sequence[float],
    said: Sequence[str],
    group: RunGroup,
    record: RunRecord,
    drawn: Trace,
) -> Trace:
    head = f"{wrapped(record.name)}<br>{wrapped(group.label)}, seed {seed_of(record)}<br>"
    return {
        "type": "scatter", "x": xs, "y": ys, "text": [head + text for text in said],
        "hovertemplate": "%{text}<extra></extra>", **drawn,
    }  # fmt: skip


def _metric(groups: Sequence[RunGroup]) -> Metric:
    return groups[0].records[0].metric


def _quality_axis(split: str, metric: Metric) -> Trace:
    title = {"text": f"{split} {metric.name}"}
    return {"title": title, "tickformat": ".2~%" if metric.percent else ""}


def _hue(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _dash(place: int) -> str:
    return _DASHES[place // len(_COLOURS) % len(_DASHES)][1]


def _keys(groups: Sequence[RunGroup]) -> tuple[Key, ...]:
    marks = [_DASHES[place // len(_COLOURS) % len(_DASHES)][0] for place in range(len(groups))]
    return tuple(
        Key(group.label, _hue(place), mark)
        for place, (group, mark) in enumerate(zip(groups, marks, strict=True))
    )
