"""The closing tables: every figure there, no name cut."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from autocomp.errors import RunError
from autocomp.reports.terminal.tables import dense_against_compressed, layer_by_layer, notes
from autocomp.runs.summary import LayerRow, Summary
from autocomp.tasks.classification import Score

NAME = "encoder.layers.11.self_attention.out_proj"


@pytest.fixture
def summary() -> Summary:
    return Summary(
        dense={"size": 1000, "macs": 500}, compressed={"size": 80, "macs": 500},
        search_dense=Score(0.9, 0.3, 400), search=Score(0.88, 0.4, 400),
        test_dense=Score(0.91, 0.3, 100), test=Score(0.5, 0.4, 100),
        limits={"size": 81}, units={"size": "bytes", "macs": "MACs"},
        layers=(LayerRow(NAME, "linear", (8, 4), "50% zero w4", 32, 16, 20, 128),),
        left_dense=("[red]odd[/red]",), in_blocks=("[b]wide[/b]",), evaluations=7, seconds=1.5,
    )  # fmt: skip


def rendered(thing: object) -> str:
    console = Console(width=140, record=True, file=None, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        console.print(thing)
    return capture.get()


def test_costs_and_accuracies(summary: Summary) -> None:
    text = rendered(dense_against_compressed(summary))
    for part in ("1,000", "80", "8.00%", "<= 81", "90.00% +- 1.50%", "50.00% +- 5.00%", "-41.00%"):
        assert part in text
    assert "file (bytes)" in text
    assert "100.00%" in text


def test_layers(summary: Summary) -> None:
    text = rendered(layer_by_layer(summary))
    for part in (NAME, "8x4", "50% zero w4", "16", "15.6%"):
        assert part in text


def test_notes_name_what_was_left(summary: Summary) -> None:
    lines = notes(summary)
    assert "7 plans" in lines[0]
    assert lines[-2:] == [
        "Left dense: [red]odd[/red].", "Recovered in blocks of inputs: [b]wide[/b].",
    ]  # fmt: skip


def test_json_both_ways(summary: Summary) -> None:
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    with pytest.raises(RunError, match="closing figures"):
        Summary.from_json({"layers": []})
