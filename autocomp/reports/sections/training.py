"""What a training at the end has changed, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Table
from autocomp.reports.html.figures import Figure, Key, colour
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import percent
from autocomp.runs.summary import Summary, Training
from autocomp.training import TrainingPoint


def training(record: RunRecord) -> Section | None:
    """Returns the training's figures and curves; None where nothing was trained."""
    summary = record.summary
    if summary is None or summary.training is None:
        return None
    told = summary.training
    blocks: list[Block] = [_table(summary, told)]
    if len(record.training) > 1:
        blocks.append(_loss(record.training))
        if told.flipped:
            blocks.append(_bytes(record.training, summary.limits.get("size")))
    lead = (
        f"The chosen network was trained for {told.steps:,} steps in {told.seconds:,.0f} s "
        f"({told.settings}). Ranks, widths and grids stayed; codes moved, within the same bytes. "
        "The plan, its errors and the ablations on this page are of the network before."
    )
    if not told.kept:
        lead += " The trained network was no better on the search split, and was not kept."
    return Section("training", "Training", lead, tuple(blocks))


def _table(summary: Summary, told: Training) -> Table:
    metric = told.search_trained.metric
    after = summary.compressed.get("size") if told.kept else None
    return Table(
        ("", "before", "after"),
        [
            (f"search {metric.name}", metric.text(told.search.quality),
             metric.text(told.search_trained.quality)),
            ("search loss", f"{told.search.loss:.4f}", f"{told.search_trained.loss:.4f}"),
            ("file (bytes)", f"{told.size:,}", "" if after is None else f"{after:,}"),
            ("weights that are zero", percent(told.zeros), percent(told.zeros_trained)),
            ("codes that differ", "", percent(told.flipped)),
        ],
    )  # fmt: skip


def _loss(points: Sequence[TrainingPoint]) -> Figure:
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines", "x": [p.step for p in points],
        "y": [p.loss for p in points], "line": {"color": colour("compressed")},
        "hovertemplate": "step %{x}<br>loss %{y:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": "loss"}}}
    note = "The loss often rises in the middle, where steps are long, and falls at the end."
    return Figure("Loss on the training samples", [trace], layout, half=True, note=note)


def _bytes(points: Sequence[TrainingPoint], limit: int | None) -> Figure:
    steps = [p.step for p in points]
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": steps, "y": [p.bytes for p in points],
         "customdata": [100 * p.flipped for p in points], "line": {"color": colour("compressed")},
         "hovertemplate": "step %{x}<br>%{y:,} bytes<br>%{customdata:.2f} % of the codes moved"
         "<extra></extra>"},
    ]  # fmt: skip
    keys = [Key("the file, about", "compressed")]
    if limit is not None:
        traces.append({
            "type": "scatter", "mode": "lines", "x": [steps[0], steps[-1]], "y": [limit, limit],
            "hoverinfo": "skip", "line": {"color": colour("soft"), "dash": "dash"},
        })  # fmt: skip
        keys.append(Key("the budget", "soft", "dashed"))
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": "bytes"}}}
    return Figure("Bytes while codes move", traces, layout, half=True, keys=tuple(keys))
