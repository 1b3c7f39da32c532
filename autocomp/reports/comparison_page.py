"""A comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from autocomp.inspection.comparison import Comparison, compare_runs
from autocomp.inspection.grouping import RunGroup, group_runs
from autocomp.inspection.record import RunRecord
from autocomp.reports.group_figures import (
    differences_rows,
    fronts_figure,
    progress_figure,
    results_figure,
)
from autocomp.reports.html.blocks import Facts, Prose, Table
from autocomp.reports.html.page import Block, Section, render_page
from autocomp.reports.sections.wording import capital
from autocomp.reports.terminal.comparison_tables import (
    change_text,
    group_rows,
    heads,
    interval_text,
    run_rows,
)


def render_comparison(records: Sequence[RunRecord]) -> str:
    """Returns runs side by side as an HTML document, to be written as UTF-8.

    Raises:
        RunError: if there are fewer than two runs, two of them are the same one, or their networks
            or data differ.
        BudgetError: if a run's config.json holds a budget that cannot be read.
    """
    groups, comparison = group_runs(records), compare_runs(records)
    metric, head = comparison.groups[0].metric, heads(comparison)
    side = "up" if metric.larger_is_better else "down"
    sections = [
        Section(
            "groups", "Groups", "Runs of one group differ in their seeds alone.",
            (
                Table(
                    ("group", "runs", *head), group_rows(comparison),
                    "Median, and least and largest in brackets",
                ),
                results_figure(groups),
            ),
        ),
        Section(
            "fronts", f"{capital(metric.name)} against size",
            f"Left and {side} is better: no plan of the same run is both smaller and better.",
            (fronts_figure(groups),),
        ),
        Section(
            "progress", "Best so far", "How soon good plans were found.",
            (progress_figure(groups),),
        ),
        Section(
            "differences", "Paired differences",
            "Two groups, seed by seed: what a seed does to both of them cancels.",
            _differences(comparison),
        ),
        Section(
            "runs", "Runs", "",
            (
                Table(("run", "group", "seed", *head, "state"), run_rows(comparison), texts=2),
                *(_settings(group) for group in groups),
            ),
        ),
    ]  # fmt: skip
    first = records[0].settings
    lead = f"{len(records)} runs of {first.get('model', '')} on {first.get('data', '')}."
    return render_page("Runs side by side", lead, sections, comparison.notes)


def _differences(comparison: Comparison) -> tuple[Block, ...]:
    drawn = differences_rows(comparison)
    if drawn is None:
        return (Prose(("No two groups have the same budgets and a seed in common.",)),)
    rows = [
        (
            f"{pair.first} less {pair.second}", d.measure, str(len(d.seeds)),
            change_text(d, d.mean), interval_text(d),
        )
        for pair in comparison.pairs
        for d in pair.differences
    ]  # fmt: skip
    head = ("pair", "measure", "seeds", "mean", "95 % interval")
    return (drawn, Table(head, rows, "The same in numbers", texts=2, folded=True))


def _settings(group: RunGroup) -> Facts:
    facts = [(name, value or "none") for name, value in group.settings.items()]
    return Facts(facts, f"Settings of {group.label}", folded=True)
