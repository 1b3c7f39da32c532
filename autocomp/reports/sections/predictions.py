"""What compression did to single predictions: classes, confidence, and the images it changed."""

from __future__ import annotations

from typing import Any

from autocomp.inspection.predictions import Calibration, ChangedSample, ClassAccuracy, Predictions
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Picture, Pictures, Prose, Table
from autocomp.reports.html.figures import Figure, Key, Panel, Rows, Trace, colour, wrapped
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import percent, sentence, short, signed_points

_CLASSES = 60
"""Classes that are plotted; of more, those whose accuracy changed most."""
_TITLE = "Predictions"


def predictions(record: RunRecord) -> Section | None:
    """Returns the section; a reason if it is missing; None if nobody looked."""
    found = record.findings
    if found is None:
        return None
    if found.predictions is None:
        reason = found.left_out.get("predictions")
        return Section("predictions", _TITLE, "", (Prose((sentence(reason),)),)) if reason else None
    seen = found.predictions
    blocks: list[Block] = []
    if seen.classes:
        blocks.append(_classes(seen, half=len(seen.classes) <= 24))
    blocks.append(_reliability(seen))
    if len(seen.classes) > _CLASSES:
        blocks.append(_table(seen))
    if seen.changed:
        title = "Where the prediction changed most"
        blocks.append(Pictures([_picture(sample) for sample in seen.changed], title))
    lead = (
        f"On {seen.n:,} images of the {seen.split}, both networks predict the same class for "
        f"{percent(seen.agreement)}. Look for classes that pay more than others, and for "
        "confidence that no longer matches accuracy."
    )
    return Section("predictions", _TITLE, lead, tuple(blocks))


def _classes(seen: Predictions, half: bool) -> Rows:
    shown = list(seen.classes)
    note = ""
    if len(shown) > _CLASSES:
        changed = sorted(shown, key=lambda c: -abs(c.compressed - c.dense))[:_CLASSES]
        shown = [c for c in shown if c in changed]
        note = f"The {_CLASSES} of {len(seen.classes):,} classes whose accuracy changed most."
    links: list[float | None] = []
    rungs: list[int | None] = []
    for place, one in enumerate(shown):
        links += [100 * one.dense, 100 * one.compressed, None]
        rungs += [place, place, None]
    link = {
        "type": "scatter", "mode": "lines", "x": links, "y": rungs, "hoverinfo": "skip",
        "line": {"color": colour("line"), "width": 3},
    }  # fmt: skip
    dense = _dots(shown, [one.dense for one in shown], "dense", "circle-open")
    compressed = _dots(shown, [one.compressed for one in shown], "compressed", "diamond")
    least = min(min(one.dense, one.compressed) for one in shown)
    low = max(0.0, 100 * least - 6)
    axis = {"range": [low - 0.03 * (100 - low), 100 + 0.04 * (100 - low)]}
    return Rows(
        "Accuracy of each class",
        [f"{one.label} ({one.n:,})" for one in shown],
        (Panel("Accuracy (%); images in brackets", (link, dense, compressed), axis),),
        half,
        note,
        keys=(Key("dense", "dense", "ring"), Key("compressed", "compressed", "diamond")),
    )


def _dots(shown: list[ClassAccuracy], values: list[float], shade: str, symbol: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * value for value in values],
        "y": list(range(len(shown))),
        "hovertext": [
            f"<b>{wrapped(one.label, 34)}</b><br>dense {percent(one.dense, 1)}<br>"
            f"compressed {percent(one.compressed, 1)}<br>"
            f"{signed_points(one.compressed - one.dense)}"
            for one in shown
        ],
        "hoverinfo": "text" if shade == "compressed" else "skip",
        "marker": {
            "size": 10,
            "symbol": symbol,
            "color": colour(shade),
            "line": {"width": 2, "color": colour(shade)},
        },
    }


def _reliability(seen: Predictions) -> Figure:
    def line(name: str, found: Calibration, shade: str, symbol: str) -> Trace:
        bins = [one for one in found.bins if one.n]
        most = max((one.n for one in bins), default=1)
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [one.confidence for one in bins],
            "y": [one.accuracy for one in bins],
            "hovertext": [
                f"{name}<br>confidence {percent(one.confidence, 1)}<br>accuracy "
                f"{percent(one.accuracy, 1)}<br>{one.n:,} images"
                for one in bins
            ],
            "hoverinfo": "text",
            "line": {"color": colour(shade), "width": 1.8},
            "marker": {
                "color": colour(shade),
                "symbol": symbol,
                "opacity": 1,
                "size": [6 + 12 * (one.n / most) ** 0.5 for one in bins],
            },
        }

    perfect: Trace = {
        "type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
        "line": {"color": colour("soft"), "dash": "dash", "width": 1.2},
    }  # fmt: skip
    axis: dict[str, Any] = {"range": [-0.02, 1.03], "tickformat": ".0%"}
    layout = {
        "xaxis": {**axis, "title": {"text": "confidence"}},
        "yaxis": {**axis, "title": {"text": "accuracy"}},
    }
    note = (
        f"The expected calibration error is {percent(seen.dense.error)} dense and "
        f"{percent(seen.compressed.error)} compressed; below the diagonal a network is too sure "
        "of itself. Larger marks stand for more images."
    )
    keys = (
        Key("dense", "dense", "dot"),
        Key("compressed", "compressed", "diamond"),
        Key("perfectly calibrated", "soft", "dashed"),
    )
    traces = (
        perfect,
        line("dense", seen.dense, "dense", "circle"),
        line("compressed", seen.compressed, "compressed", "diamond"),
    )
    return Figure("Confidence against accuracy", traces, layout, 400, True, note, keys)


def _table(seen: Predictions) -> Table:
    rows = [
        (one.label, f"{one.n:,}", percent(one.dense), percent(one.compressed),
         signed_points(one.compressed - one.dense))
        for one in seen.classes
    ]  # fmt: skip
    head = ("class", "images", "dense", "compressed", "difference")
    return Table(head, rows, "All classes as a table", folded=True)


def _picture(sample: ChangedSample) -> Picture:
    return Picture(
        sample.png,
        f"Image {sample.index:,}: {sample.label}",
        (
            ("dense", f"{sample.dense}, {percent(sample.dense_p, 1)}", "dense"),
            ("compressed", f"{sample.compressed}, {percent(sample.compressed_p, 1)}", "compressed"),
            ("divergence", f"{short(sample.divergence)} nats", "soft"),
        ),
    )
