"""The progress of a search in a terminal: a line a stage, then the evaluations."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from autocomp.search_spaces import FeasibleSpace, make_space
from rich.console import Console
from torch import nn

import autocomp
from autocomp.api import progress as api_progress
from autocomp.core.stage import Stage
from autocomp.data.splits import DataSplits
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.reports.terminal.progress import SearchProgress


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, legacy_windows=False)


def test_a_stage_has_a_line_while_it_lasts() -> None:
    console = terminal()
    with SearchProgress(7, console) as bar:
        bar.stage(Stage("tables", 0, 4))
        bar.stage(Stage("tables", 1, 4))
        (search, tables) = bar._progress.tasks
        assert (tables.description, tables.fields["done"], tables.percentage) == (
            "tables", "25 %", 25,
        )  # fmt: skip
        assert not search.started  # its time left is not that of the tables
        bar.stage(Stage("losses", 0, 2))  # the tables ended, whatever was counted
        assert [t.description for t in bar._progress.tasks] == ["search", "losses"]
        bar.stage(Stage("losses", 2, 2))
        assert [t.description for t in bar._progress.tasks] == ["search"]
    assert "0/7" in console.file.getvalue()  # type: ignore[attr-defined]


def test_stages_of_a_problem_are_told_in_order_to_their_ends(
    tiny_net: nn.Module, tiny_data: DataSplits
) -> None:
    told: list[Stage] = []
    settings = ProblemSettings(on_stage=told.append)
    problem = CompressionProblem(tiny_net, tiny_data, "size=20%", settings)
    feasible = FeasibleSpace.build(problem, make_space("joint"))
    assert feasible.allocation.starts()
    names = list(dict.fromkeys(stage.name for stage in told))
    assert names == ["calibration", "tables", "losses"]
    for name in names:
        shares = [s.done / s.total for s in told if s.name == name]
        assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)


def test_a_search_shows_its_tables_to_a_person(
    tiny_net: nn.Module, tiny_data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = terminal()
    monkeypatch.setattr(api_progress, "Console", lambda **_: console)
    autocomp.search(
        tiny_net, tiny_data, "size=20%", agent="dp", evaluations=1, cache="none", report="none",
        out=tmp_path / "run",
    )  # fmt: skip
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1/1" in shown and "best" in shown
