"""The page of a comparison: every run drawn, nothing of a name read as HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from autocomp.core.choice import NEUTRAL
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.errors import RunError
from autocomp.inspection.comparison import compare_runs
from autocomp.inspection.grouping import group_runs
from autocomp.inspection.record import RunRecord
from autocomp.reports.comparison_page import render_comparison
from autocomp.reports.group_figures import (
    differences_rows,
    fronts_figure,
    progress_figure,
    results_figure,
)
from autocomp.reports.html.figures import plain
from autocomp.runs.summary import Summary

NASTY = "<img src=x onerror=alert(1)>&\"'"
ACCURACIES = (0.5, 0.4, 0.7)


def run(agent: str, seed: int, gain: float = 0.0, complete: bool = True) -> RunRecord:
    settings = {
        "model": NASTY, "data": "digits", "budget": ["size=10%"], "space": "joint", "agent": agent,
        "evaluations": 4, "seed": seed,
    }  # fmt: skip
    config = {
        "settings": settings,
        "fingerprints": {"network": "n", "data": "d"},
        "versions": {},
        "started": f"{agent}{seed}",
    }
    plan = Plan({"a": NEUTRAL})
    found = [
        Outcome(plan, a + gain, 0.5, 100, {"size": 90 + place}, True, "F1", 1.0, gap=-a - gain)
        for place, a in enumerate(ACCURACIES)
    ]
    test = Score(0.6 + gain, 0.4, 100)
    summary = Summary(
        {"size": 1000}, {"size": 88}, test, test, test, test,
        {"size": 100}, {"size": "bytes"}, (), (), (), 3, 5.0,
    )  # fmt: skip
    name = f"{agent}{seed}"
    return RunRecord(name, config, tuple(found), {}, summary if complete else None, None)


RECORDS = [run("tpe", 1, 0.1), run("tpe", 2, 0.2), run(NASTY, 1), run(NASTY, 2, complete=False)]


def test_every_section_is_there_and_names_are_escaped() -> None:
    page = render_comparison(RECORDS)
    assert page.startswith("<!DOCTYPE html>")
    assert "<img" not in page.replace("<img>", "")
    assert plain(NASTY)[:20] in page
    for part in (
        "Runs side by side", "Accuracy against size", "Best so far", "Paired differences",
        "stopped early", "Stopped early, no test accuracy", "1 seed: no interval",
        "4 runs of &lt;img",
    ):  # fmt: skip
        assert part in page, part


def test_every_plot_is_there_and_knows_every_run() -> None:
    page = render_comparison(RECORDS)
    assert len(re.findall(r'<div class="plot"', page)) == 4
    for figure in (fronts_figure(group_runs(RECORDS)), results_figure(group_runs(RECORDS))):
        texts = json.dumps(list(figure.traces))
        for record in RECORDS[:3]:
            assert plain(record.name)[:8] in texts


def test_fronts() -> None:
    figure = fronts_figure(group_runs(RECORDS))
    assert [trace["x"] for trace in figure.traces] == [[90, 92]] * 4
    assert figure.traces[2]["y"] == [0.5, 0.7]
    assert [key.name for key in figure.keys] == ["tpe", NASTY]
    assert "on 100 search images" in figure.note
    assert "<img" not in json.dumps(list(figure.traces))


def test_results_leave_out_what_was_stopped() -> None:
    assert [trace["x"] for trace in results_figure(group_runs(RECORDS)).traces] == [[88]] * 3


def test_progress_by_hand() -> None:
    figure = progress_figure(group_runs(RECORDS))
    (band, other, first, second) = figure.traces
    assert first["x"] == [1, 2, 3, 4]  # complete with 3: the best is kept
    assert first["y"] == pytest.approx([0.65, 0.65, 0.85, 0.85])
    assert second["y"] == pytest.approx([0.5, 0.5, 0.7, 0.7])
    right = [1, 2, 2, 3, 3, 4, 4, 4]
    assert band["x"] == [*right, *reversed(right)]
    high, low = [0.7] * 4 + [0.9] * 4, [0.6] * 4 + [0.8] * 4
    assert band["y"] == pytest.approx([*high, *reversed(low)])
    assert other["hoverinfo"] == "skip"
    assert "1 run" in second["text"][3] and "2 runs" in second["text"][2]


def test_differences() -> None:
    rows = differences_rows(compare_runs(RECORDS))
    assert rows is not None and list(rows.labels) == [f"tpe less {NASTY}"]
    merit = next(panel for panel in rows.panels if panel.title == "merit after 1 (25 %)")
    seeds, means = merit.traces
    assert seeds["x"] == pytest.approx([0.1, 0.2]) and seeds["y"] == [0, 0]
    assert means["x"] == pytest.approx([0.15])
    assert means["error_x"]["array"] == means["error_x"]["arrayminus"] == pytest.approx([0.05])
    assert differences_rows(compare_runs(RECORDS[:2])) is None
    assert "No two groups have the same budgets" in render_comparison(RECORDS[:2])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(RunError, match="at least 2 runs"):
        render_comparison(RECORDS[:1])


def test_runs_without_any_outcome() -> None:
    bare = replace(run("a", 1, complete=False), outcomes=())
    assert "No two groups" in render_comparison([bare, run("tpe", 1)])
