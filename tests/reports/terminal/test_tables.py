"""The closing tables: every figure there, no name cut."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from autocomp.core.score import Score
from autocomp.errors import RunError
from autocomp.reports.terminal.tables import dense_against_compressed, layer_by_layer, notes
from autocomp.runs.layer_result import LayerResult
from autocomp.runs.summary import Gain, Summary

NAME = "encoder.layers.11.self_attention.out_proj"


@pytest.fixture
def summary() -> Summary:
    return Summary(
        dense={"size": 1000, "macs": 500}, compressed={"size": 80, "macs": 500},
        search_dense=Score(0.9, 0.3, 400), search=Score(0.88, 0.4, 400),
        test_dense=Score(0.91, 0.3, 100), test=Score(0.5, 0.4, 100),
        limits={"size": 81}, units={"size": "bytes", "macs": "MACs"},
        layers=(
            LayerResult(NAME, "linear", (8, 4), "50% zero w4", weights=32, nonzeros=16, bytes=20,
                        dense_bytes=128),
        ),
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
    for part in (
        "1,000",
        "80",
        "8.00%",
        "<= 81",
        "90.00% +- 1.50%",
        "50.00% +- 5.00%",
        "-41.00 points",
    ):
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


def test_notes_tell_what_was_estimated(summary: Summary) -> None:
    assert not any("estimated" in line for line in notes(summary))
    told = replace(summary, estimated=("a", "b"), by_gradients=True)
    lines = notes(told)
    assert any(line.startswith("Menus of 2 costly layers were estimated") for line in lines)
    assert any("from gradients" in line for line in lines)
    values = json.loads(json.dumps(told.to_json()))
    assert Summary.from_json(values) == told
    del values["estimated"], values["by_gradients"]  # a run of 0.4
    assert Summary.from_json(values) == summary
    with pytest.raises(RunError, match="closing figures"):
        Summary.from_json({**values, "by_gradients": "yes"})
    with pytest.raises(RunError, match="closing figures"):
        Summary.from_json({**values, "estimated": [3]})


def test_json_both_ways(summary: Summary) -> None:
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    with pytest.raises(RunError, match="closing figures"):
        Summary.from_json({"layers": []})


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        (
            Gain(0.0123, -0.001, 0.0256, 400),
            "not measurably improve the accuracy of the plan it started from: +1.23",
        ),
        (
            Gain(0.02, 0.001, 0.039, 400),
            "improved on the plan it started from: +2.00 points (95 % ",
        ),
        (Gain(-0.02, -0.039, -0.001, 400), "ended below the plan it started from: -2.00 points"),
        (
            Gain(0.02, 0.001, 0.039, 400, split="test"),
            "paired over the 400 test images that no search used)",
        ),
        (Gain(0.02, 0.001, 0.039, 400), "paired over the 400 images that chose it)"),
        (Gain(0.0, 0.0, 0.0, 400, own=True), "the one that the search started from"),
    ],
)
def test_what_the_search_gained_over_its_start(summary: Summary, gain: Gain, sentence: str) -> None:
    told = replace(summary, gain=gain)
    assert sentence in notes(told)[0]
    assert Summary.from_json(told.to_json()) == told
    assert not any("started from" in line for line in notes(summary))


def test_json_of_version_0_4(summary: Summary) -> None:
    values = summary.to_json()
    for row in values["layers"]:
        row["kept"] = row.pop("nonzeros")
        for name in ("sparsity", "channels", "rank", "weight_bits", "activation_bits",
                     "dense_macs", "macs"):  # fmt: skip
            del row[name]
    del values["gain"]
    old = Summary.from_json(values)
    assert (old.layers[0].nonzeros, old.layers[0].macs, old.gain) == (16, None, None)
