"""Several runs side by side: medians of each group, and paired differences over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from autocomp.core.metric import Metric
from autocomp.errors import RunError
from autocomp.inspection.grouping import RunGroup, group_runs, seed_of
from autocomp.inspection.paired import PairedDifference
from autocomp.inspection.record import RunRecord
from autocomp.inspection.run_figures import RunFigures, merit_after

PERCENTS = (10, 25, 50, 100)
"""Shares of the evaluations at which the best so far is compared."""
Measure = Callable[[RunRecord], float | None]
_TRUSTED = 10
"""From so many seeds on, a percentile interval covers the mean nearly as often as it says."""


@dataclass(frozen=True)
class Spread:
    """A figure over the runs of a group that have it.

    Attributes:
        median, low, high: the middle, the least and the largest value.
        n: how many runs.
    """

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Returns the spread of the values that are there; None if none is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(float(median(known)), float(min(known)), float(max(known)), len(known))


@dataclass(frozen=True)
class GroupFigures:
    """A group of runs that differ in their seeds alone.

    Attributes:
        label: what is particular to the group, in words.
        runs: its runs, by seed.
        search_quality: over the runs that were scored on most images.
        test_quality: None while no run is complete.
        size: bytes.
        evaluations: distinct plans.
        seconds: of the search.
    """

    label: str
    runs: tuple[RunFigures, ...]
    search_quality: Spread | None
    test_quality: Spread | None
    size: Spread | None
    evaluations: Spread | None
    seconds: Spread | None

    @property
    def metric(self) -> Metric:
        """What the qualities are figures of."""
        return self.runs[0].metric

    @classmethod
    def of(cls, group: RunGroup) -> GroupFigures:
        """Returns a group's figures."""
        runs = tuple(map(RunFigures.of, group.records))
        most = max(run.search_images for run in runs)
        return cls(
            label=group.label,
            runs=runs,
            search_quality=Spread.of(r.search_quality for r in runs if r.search_images == most),
            test_quality=Spread.of(r.test_quality for r in runs),
            size=Spread.of(r.size for r in runs),
            evaluations=Spread.of(r.evaluations for r in runs),
            seconds=Spread.of(r.seconds for r in runs),
        )


@dataclass(frozen=True)
class GroupPair:
    """Two groups with the same budgets.

    Attributes:
        first, second: their labels.
        differences: the first less the second, for every measure that both have at a common seed.
    """

    first: str
    second: str
    differences: tuple[PairedDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same network and data.

    Attributes:
        groups: in the order of their first runs.
        pairs: every two groups with the same budgets.
        notes: what a reader should know beside the figures, one sentence each.
    """

    groups: tuple[GroupFigures, ...]
    pairs: tuple[GroupPair, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns every field; tuples become lists in JSON."""
        return asdict(self)


def read_runs(folders: Iterable[str | Path]) -> tuple[RunRecord, ...]:
    """Reads run folders for a comparison; RunError if one is no run."""
    return tuple(RunRecord.read(folder) for folder in folders)


def compare_runs(records: Sequence[RunRecord]) -> Comparison:
    """Returns runs side by side, grouped by what differs beside the seed.

    Raises:
        RunError: if there are fewer than two runs, two of them are the same one, or their networks
            or data differ.
        BudgetError: if a run's config.json holds a budget that cannot be read.
    """
    metrics = sorted({record.metric.name for record in records})
    if len(metrics) > 1:
        raise RunError(
            f"Runs must have one metric to be compared, but these have {' and '.join(metrics)}; "
            "compare those that share one."
        )
    groups = group_runs(records)
    pairs = tuple(
        GroupPair(a.label, b.label, _differences(a, b))
        for a, b in combinations(groups, 2)
        if a.settings["budget"] == b.settings["budget"]
    )
    return Comparison(
        tuple(map(GroupFigures.of, groups)), pairs, tuple(_notes(records, groups, pairs))
    )


def _differences(first: RunGroup, second: RunGroup) -> tuple[PairedDifference, ...]:
    """Returns the measures that both groups have at a common seed."""
    sides = (first, second)
    metric = first.records[0].metric
    images = max(RunFigures.of(record).search_images for g in sides for record in g.records)

    def searched(record: RunRecord) -> float | None:
        figures = RunFigures.of(record)
        return figures.search_quality if figures.search_images == images else None

    measures: list[tuple[str, Measure]] = [
        (f"test {metric.name}", lambda record: RunFigures.of(record).test_quality),
        (f"search {metric.name}", searched),
    ]
    if first.settings["search_images"] == second.settings["search_images"]:
        total = min(int(group.settings["evaluations"]) for group in sides)
        counts = {max(1, round(total * percent / 100)): percent for percent in PERCENTS}
        for count, percent in counts.items():
            merit = f"merit after {count} ({percent} %)"
            measures.append((merit, partial(merit_after, evaluations=count)))
    found = (
        PairedDifference.of(
            name,
            _by_seed(first, measure),
            _by_seed(second, measure),
            percent=metric.percent and not name.startswith("merit"),
        )
        for name, measure in measures
    )
    return tuple(difference for difference in found if difference is not None)


def _by_seed(group: RunGroup, measure: Measure) -> dict[int, float]:
    """Returns seed -> value; runs of one seed count as their mean."""
    values: dict[int, list[float]] = {}
    for record in group.records:
        value = measure(record)
        if value is not None:
            values.setdefault(seed_of(record), []).append(value)
    return {seed: sum(found) / len(found) for seed, found in values.items()}


def _notes(
    records: Sequence[RunRecord], groups: Sequence[RunGroup], pairs: Sequence[GroupPair]
) -> list[str]:
    lines = []
    stopped = [record.name for record in records if record.summary is None]
    if stopped:
        lines.append(
            f"Stopped early, no test {records[0].metric.name}: " + ", ".join(stopped) + "."
        )
    versions = {str(record.config.get("versions", {}).get("autocomp", "?")) for record in records}
    if len(versions) > 1:
        lines.append("The runs are of different versions: " + ", ".join(sorted(versions)) + ".")
    if len(groups) > 1 and len({group.settings["budget"] for group in groups}) > 1:
        lines.append("Only groups with the same budgets are paired.")
    for pair in pairs:
        if not pair.differences:
            lines.append(f"{pair.first} and {pair.second} have no seed in common: not paired.")
    counts = {len(d.seeds) for pair in pairs for d in pair.differences}
    if 1 in counts:
        lines.append("1 seed: no interval.")
    if any(1 < count < _TRUSTED for count in counts):
        lines.append(
            "Intervals over few seeds are too narrow: over 3 (5) normally distributed differences "
            "a 95 % percentile interval covers their mean in 75 % (84 %) of cases."
        )
    return lines
