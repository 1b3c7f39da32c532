"""A comparison as tables for a terminal; printing is the CLI's."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autocomp.inspection.comparison import Comparison, GroupFigures, GroupPair, Spread
from autocomp.inspection.paired import PairedDifference
from autocomp.inspection.run_figures import RunFigures
from autocomp.reports.terminal.grid import grid


def heads(comparison: Comparison) -> tuple[str, ...]:
    """Returns the headings of the figures of a group."""
    name = comparison.groups[0].metric.name
    return (f"test {name}", f"search {name}", "bytes", "evaluations", "seconds")


def comparison_tables(comparison: Comparison) -> list[RenderableType]:
    """Returns the groups, their paired differences, the runs, and what else is to be said."""
    parts: list[RenderableType] = [group_table(comparison)]
    parts += [pair_table(pair) for pair in comparison.pairs if pair.differences]
    parts += run_tables(comparison)
    return parts + [Text(line, overflow="fold") for line in comparison.notes]


def group_table(comparison: Comparison) -> Table:
    """Returns each group's medians, and below them the least and largest figures of its runs."""
    rows: list[list[str]] = []
    head = heads(comparison)
    for group in comparison.groups:
        middle = [_spreads(group, lambda s: s.median)]
        ends = [_spreads(group, lambda s: s.low), _spreads(group, lambda s: s.high)]
        several = len(group.runs) > 1
        names = [group.label, "  least", "  largest"] if several else [group.label]
        counts = [str(len(group.runs)), "", ""]
        lines = middle + ends if several else middle
        rows += [[a, b, *line] for a, b, line in zip(names, counts, lines, strict=False)]
    return grid("Groups of runs: medians", ("group", "runs", *head), rows, {"runs", *head})


def group_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Returns each group's label, how many runs it has, and "median [least, largest]"s."""
    rows = []
    for group in comparison.groups:
        ends = zip(
            _spreads(group, lambda s: s.median),
            _spreads(group, lambda s: s.low),
            _spreads(group, lambda s: s.high),
            strict=True,
        )
        texts = (m if low == high else f"{m} [{low}, {high}]" for m, low, high in ends)
        rows.append((group.label, str(len(group.runs)), *texts))
    return rows


def pair_table(pair: GroupPair) -> Table:
    """Returns one pair's differences."""
    rows = [
        [d.measure, str(len(d.seeds)), change_text(d, d.mean), interval_text(d)]
        for d in pair.differences
    ]
    return grid(
        f"{pair.first} less {pair.second}, seed by seed",
        ("measure", "seeds", "mean", "95 % interval"), rows, numbers={"seeds", "mean"},
    )  # fmt: skip


def run_tables(comparison: Comparison) -> list[Table]:
    """Returns a table of runs for every group."""
    head = heads(comparison)
    return [
        grid(
            f"Runs of {group.label}", ("run", "seed", *head),
            [
                [run.name if run.complete else f"{run.name} (stopped early)", *_figures(run)[:-1]]
                for run in group.runs
            ],
            numbers={"seed", *head},
        )
        for group in comparison.groups
    ]  # fmt: skip


def run_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Returns every run's name, group, seed, the texts of its figures, and its state."""
    return [(r.name, group.label, *_figures(r)) for group in comparison.groups for r in group.runs]


def change_text(difference: PairedDifference, value: float) -> str:
    """Returns a difference of a measure with its sign."""
    return f"{value:+.2%}" if difference.percent else f"{value:+.4f}"


def interval_text(difference: PairedDifference) -> str:
    """Returns the interval, or why there is none."""
    if difference.low is None or difference.high is None:
        return f"{len(difference.seeds)} seed: no interval"
    low, high = (change_text(difference, v) for v in (difference.low, difference.high))
    return f"[{low}, {high}]"


def _spreads(group: GroupFigures, part: Callable[[Spread], float]) -> list[str]:
    """Returns one number of each of a group's spreads, in the order of `heads`."""
    quality = group.metric.text
    shown: tuple[tuple[Spread | None, Callable[[float], str]], ...] = (
        (group.test_quality, quality), (group.search_quality, quality),
        (group.size, "{:,.0f}".format), (group.evaluations, "{:,.0f}".format),
        (group.seconds, "{:,.1f}".format),
    )  # fmt: skip
    return ["" if spread is None else text(part(spread)) for spread, text in shown]


def _figures(run: RunFigures) -> tuple[str, ...]:
    tested, searched, text = run.test_quality, run.search_quality, run.metric.text
    return (
        str(run.seed),
        "" if tested is None else text(tested),
        "" if searched is None else text(searched),
        "" if run.size is None else f"{run.size:,}",
        f"{run.evaluations:,}",
        f"{run.seconds:,.1f}",
        "complete" if run.complete else "stopped early",
    )
