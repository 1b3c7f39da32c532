"""Runs side by side: grouping, medians, paired differences, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cattrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from autocomp.core.choice import NEUTRAL
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.errors import RunError
from autocomp.inspection.comparison import Comparison, Spread, compare_runs, read_runs
from autocomp.inspection.grouping import group_runs
from autocomp.inspection.paired import PairedDifference, bootstrap_interval
from autocomp.inspection.record import RunRecord
from autocomp.inspection.run_figures import RunFigures, merit_after
from autocomp.reports.terminal.comparison_tables import comparison_tables, group_rows, interval_text
from autocomp.runs.summary import Summary

PLAN = Plan({"a": NEUTRAL})
ACCURACIES = (0.5, 0.4, 0.6, 0.7)
"""Of a search's evaluations; gaps are such that they are the merits, too."""


def outcome(accuracy: float, fidelity: str = "F1") -> Outcome:
    n = 100 if fidelity == "F1" else 400
    return Outcome(PLAN, accuracy, 0.5, n, {"size": 90}, True, fidelity, 1.0, gap=-accuracy)


def run(
    agent: str,
    seed: int,
    gain: float = 0.0,
    complete: bool = True,
    fingerprints: tuple[str, str] = ("n", "d"),
    **settings: Any,
) -> RunRecord:
    """A run whose accuracies all lie `gain` above the usual ones."""
    given_ = {
        "model": "net", "data": "digits", "budget": ["size=10%"], "space": "joint", "agent": agent,
        "evaluations": 4, "seed": seed, **settings,
    }  # fmt: skip
    config = {
        "settings": given_,
        "fingerprints": dict(zip(("network", "data"), fingerprints, strict=True)),
        "versions": {"autocomp": "0.3.0"},
        "started": f"{agent} {seed} {gain} {settings}",
    }
    found = [outcome(accuracy + gain) for accuracy in ACCURACIES]
    summary = None
    if complete:
        found.append(outcome(0.65 + gain, "F2"))
        test = Score(0.6 + gain, 0.4, 100)
        summary = Summary(
            {"size": 1000}, {"size": 88}, test, Score(0.65 + gain, 0.4, 400), test, test,
            {"size": 100}, {"size": "bytes"}, (), (), (), 4, 5.0 + seed,
        )  # fmt: skip
    return RunRecord(f"{agent}{seed}", config, tuple(found), {}, summary, None)


def shown(comparison: Comparison, width: int = 120) -> str:
    console = Console(width=width, file=None, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        for part in comparison_tables(comparison):
            console.print(part)
    return capture.get()


def differences(records: Sequence[RunRecord]) -> dict[str, PairedDifference]:
    (pair,) = compare_runs(records).pairs
    return {difference.measure: difference for difference in pair.differences}


# --- grouping ------------------------------------------------------------------------------------


def test_runs_are_grouped_by_everything_but_the_seed() -> None:
    groups = group_runs([run("tpe", 2), run("random", 1), run("tpe", 1, threads=2)])
    assert [group.label for group in groups] == ["tpe", "random"]
    assert [[r.name for r in group.records] for group in groups] == [["tpe1", "tpe2"], ["random1"]]


def test_labels_show_only_what_differs() -> None:
    groups = group_runs([run("tpe", 1), run("tpe", 1, evaluations=8, finalists=2)])
    assert [g.label for g in groups] == ["4 evaluations, finalists=5", "8 evaluations, finalists=2"]
    groups = group_runs([run("tpe", 1), run("ddpg", 1, budget=["size=5%"])])
    assert [g.label for g in groups] == ["tpe, size=10%", "ddpg, size=5%"]
    (one,) = group_runs([run("tpe", 1), run("tpe", 2)])
    assert one.label == "tpe"


def test_budgets_that_mean_the_same_are_the_same() -> None:
    assert len(group_runs([run("tpe", 1), run("tpe", 2, budget=["size=0.1"])])) == 1


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([run("tpe", 1)], "at least 2 runs, but got 1"),
        ([], "at least 2 runs, but got 0"),
        ([run("tpe", 1), run("a", 1), run("tpe", 1)], "'tpe1' is the same run as 'tpe1'"),
        ([run("tpe", 1), run("a", 1, fingerprints=("m", "d"))], "one network, but 'a1' is of"),
        ([run("tpe", 1), run("a", 1, fingerprints=("n", "e"))], "one data, but 'a1' is of"),
    ],
)  # fmt: skip
def test_what_is_refused(records: list[RunRecord], message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        compare_runs(records)
    assert "\n" not in str(caught.value)


def test_the_same_folder_twice(tmp_path: Path) -> None:
    record = run("tpe", 1)
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, **record.config}))
    lines = [json.dumps(o.to_json()) + "\n" for o in record.outcomes]
    (tmp_path / "outcomes.jsonl").write_text("".join(lines))
    with pytest.raises(RunError, match="same run"):
        compare_runs(read_runs([tmp_path, tmp_path / "."]))
    with pytest.raises(RunError, match="config.json"):
        read_runs([tmp_path, tmp_path / "none"])


# --- figures -------------------------------------------------------------------------------------


def test_the_figures_of_a_run() -> None:
    assert RunFigures.of(run("tpe", 1)) == RunFigures("tpe1", 1, True, 0.65, 400, 0.6, 88, 4, 6.0)
    early = run("tpe", 1, complete=False)
    assert RunFigures.of(early) == RunFigures("tpe1", 1, False, 0.7, 100, None, 90, 4, 4.0)
    assert RunFigures.of(replace(early, outcomes=())).search_quality is None


def test_merit_after_evaluations() -> None:
    whole, early = run("tpe", 1), run("tpe", 1, complete=False)
    assert [merit_after(whole, n) for n in (1, 2, 3, 4, 9)] == [0.5, 0.5, 0.6, 0.7, 0.7]
    assert [merit_after(early, n) for n in (4, 5)] == [0.7, None]


def test_medians_and_ranges() -> None:
    group = compare_runs([run("tpe", 1), run("tpe", 2, 0.1), run("tpe", 4, 0.3)]).groups[0]
    test = group.test_quality
    assert test is not None and test.n == 3
    assert (test.median, test.low, test.high) == pytest.approx((0.7, 0.6, 0.9))
    assert group.size == Spread(88, 88, 88, 3)
    assert group.seconds == Spread(7, 6, 9, 3)
    assert Spread.of([None, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 2)
    assert Spread.of([None]) is None


def test_incomplete_runs_are_allowed_and_marked() -> None:
    found = compare_runs([run("tpe", 1), run("tpe", 2, complete=False)])
    assert found.groups[0].test_quality == Spread(0.6, 0.6, 0.6, 1)
    assert found.groups[0].search_quality == Spread(0.65, 0.65, 0.65, 1)  # the whole split alone
    assert "tpe2 (stopped early)" in shown(found)
    assert any("Stopped early" in note and "tpe2" in note for note in found.notes)


# --- paired differences --------------------------------------------------------------------------


def test_constant_differences_have_an_interval_of_no_width() -> None:
    found = differences([run(a, s, g) for a, g in (("tpe", 0.1), ("random", 0)) for s in (1, 2, 3)])
    assert list(found) == [
        "test accuracy", "search accuracy", "merit after 1 (25 %)", "merit after 2 (50 %)",
        "merit after 4 (100 %)",
    ]  # fmt: skip
    for difference in found.values():
        assert difference.seeds == (1, 2, 3)
        assert difference.values == pytest.approx((0.1, 0.1, 0.1))
        assert difference.mean == difference.low == difference.high == pytest.approx(0.1)


def test_only_common_seeds_are_paired() -> None:
    records = [run("tpe", 1, 0.1), run("tpe", 2, 0.2), run("random", 2), run("random", 3)]
    test = differences(records)["test accuracy"]
    assert test.seeds == (2,) and test.values == pytest.approx((0.2,))
    assert (test.low, test.high) == (None, None)
    assert interval_text(test) == "1 seed: no interval"
    assert "1 seed: no interval" in shown(compare_runs(records))


def test_runs_of_one_seed_count_as_their_mean() -> None:
    test = differences([run("tpe", 1, 0.1), run("tpe", 1, 0.3), run("random", 1)])["test accuracy"]
    assert test.values == pytest.approx((0.2,))


def test_groups_without_common_seeds_or_budgets() -> None:
    found = compare_runs([run("tpe", 1), run("random", 2)])
    assert found.pairs[0].differences == ()
    assert "tpe and random have no seed in common: not paired." in found.notes
    found = compare_runs([run("tpe", 1), run("tpe", 1, budget=["size=5%"])])
    assert found.pairs == () and "Only groups with the same budgets are paired." in found.notes


def test_accuracies_on_other_images_are_not_subtracted() -> None:
    early = differences([run("tpe", 1), run("random", 1, complete=False)])
    assert "search accuracy" not in early and "test accuracy" not in early
    assert "merit after 4 (100 %)" in early
    other = differences([run("tpe", 1), run("random", 1, search_images=50)])
    assert not any(name.startswith("merit") for name in other)


def test_of_two_counts_the_smaller_one_is_compared() -> None:
    found = differences([run("tpe", 1), run("dp", 1, evaluations=40)])
    assert [name for name in found if name.startswith("merit")][-1] == "merit after 4 (100 %)"


def test_two_values_by_hand() -> None:
    # the mean of a resample is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([1.0]) is None
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(tuple(values)) or (0.0, 0.0)
    normal = 1.96 * float(values.std()) / 20
    assert low == pytest.approx(values.mean() - normal, abs=0.01)
    assert high == pytest.approx(values.mean() + normal, abs=0.01)


@given(st.dictionaries(st.integers(0, 9), st.floats(-1, 1), min_size=2, max_size=8))
def test_an_interval_covers_the_mean(values: dict[int, float]) -> None:
    found = PairedDifference.of("x", values, dict.fromkeys(values, 0.0))
    assert found is not None and found.low is not None and found.high is not None
    assert min(found.values) - 1e-12 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= max(found.values) + 1e-12
    assert found == PairedDifference.of("x", values, dict.fromkeys(values, 0.0))


# --- what is shown -------------------------------------------------------------------------------


def test_json_both_ways() -> None:
    found = compare_runs([run("tpe", 1), run("tpe", 2), run("random", 1), run("random", 2)])
    again = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert cattrs.structure(again, Comparison) == found


def test_tables() -> None:
    found = compare_runs([run("tpe", 1), run("tpe", 2, 0.1), run("random", 1), run("random", 2)])
    text = shown(found)
    for part in (
        "tpe less random, seed by seed", "65.00%", "60.00%", "70.00%", "88", "least", "largest",
        "+5.00%", "[+0.00%, +10.00%]", "+0.0500", "Runs of random", "random2",
        "over 3 (5) normally distributed",
    ):  # fmt: skip
        assert part in text, part
    assert group_rows(found)[0] == (
        "tpe", "2", "65.00% [60.00%, 70.00%]", "70.00% [65.00%, 75.00%]", "88", "4",
        "6.5 [6.0, 7.0]",
    )  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_names_are_shown_literally_and_whole(width: int) -> None:
    name = "[bold]" + "x[/y]" * 22 + "Z[/Z"
    long = replace(run("a[red]", 1), name=name)
    text = shown(compare_runs([long, run("b[/red]", 1)]), width)
    assert len(name) == 120 and max(map(len, text.splitlines())) <= width
    assert "a[red] less b[/red]" in text and "Runs of b[/red]" in text
    block = text[text.index("Runs of a[red]") : text.index("Runs of b[/red]")].splitlines()
    head = next(i for i, line in enumerate(block) if "run " in line)
    at = block[head].index("seed") - 1
    assert "".join(line[:at].strip() for line in block[head + 2 :]) == name


def test_different_versions_are_noted() -> None:
    other = run("random", 1)
    other = replace(other, config={**other.config, "versions": {"autocomp": "0.2.0"}})
    assert (
        "The runs are of different versions: 0.2.0, 0.3.0."
        in compare_runs([run("tpe", 1), other]).notes
    )
