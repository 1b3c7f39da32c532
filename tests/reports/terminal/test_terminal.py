"""What `autocomp inspect` shows: every part where its data are there, no name cut or read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from autocomp.core.choice import Choice
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.core.score import Score
from autocomp.errors import LayerError
from autocomp.inspection.ablation import LayerAblation
from autocomp.inspection.curve import CurvePoint, ErrorCurve
from autocomp.inspection.findings import Findings
from autocomp.inspection.layer_multiplier import LayerMultiplier
from autocomp.inspection.policy import Influence, Movement, PolicyPicture, Surface, Sweep
from autocomp.inspection.predictions import Calibration, ChangedSample, ClassAccuracy, Predictions
from autocomp.inspection.price import Price
from autocomp.inspection.record import RunRecord
from autocomp.inspection.study import Parameter, StudyPicture
from autocomp.reports.terminal.findings import multiplier_table
from autocomp.reports.terminal.overview import (
    inspection_json,
    inspection_of_layer,
    inspection_overview,
)
from autocomp.runs.layer_result import LayerResult
from autocomp.runs.summary import Summary

LONG = "[bold]" + ".".join(f"block{i}[/x]" for i in range(20))
LONG = LONG[:119] + "]"
PLAN = Plan({"stem": Choice.of(sparsity=0.5, weight_bits=4), LONG: Choice.of(weight_bits=8)})
OTHER = Plan({"stem": Choice.of(weight_bits=2), LONG: Choice.of(weight_bits=8)})
CONFIG: dict[str, Any] = {
    "settings": {
        "model": "net[red]", "weights": "", "data": "digits", "budget": ["size=10%"],
        "space": "joint", "agent": "tpe", "warm_start": "dp", "evaluations": 4, "seed": 3,
    },
    "fingerprints": {"network": "n", "data": "d"},
    "versions": {"autocomp": "0.3.0"},
}  # fmt: skip


def outcome(accuracy: float, size: int, fidelity: str = "F1", plan: Plan = PLAN) -> Outcome:
    costs = {"size": size}
    return Outcome(plan, accuracy, 0.5, 1000, costs, True, fidelity, 2.0, 0.01, gap=1 - accuracy)


OUTCOMES = (
    outcome(0.80, 90, plan=OTHER), outcome(0.75, 70, plan=OTHER), outcome(0.85, 95),
    outcome(0.84, 99, "F2"),
)  # fmt: skip
SUMMARY = Summary(
    dense={"size": 1000}, compressed={"size": 98}, search_dense=Score(0.9, 0.3, 400),
    search=Score(0.84, 0.4, 400), test_dense=Score(0.91, 0.3, 100), test=Score(0.5, 0.4, 100),
    limits={"size": 100}, units={"size": "bytes"},
    layers=(
        LayerResult("stem", "conv", (4, 2, 3, 3), "50% zero w4", weights=72, nonzeros=36, bytes=20,
                    dense_bytes=288),
        LayerResult(LONG, "linear", (8, 4), "w8", weights=32, nonzeros=32, bytes=30,
                    dense_bytes=128),
    ),
    left_dense=(), in_blocks=(), evaluations=3, seconds=6.5,
)  # fmt: skip
CALIBRATION = Calibration(0.0125, ())
FINDINGS = Findings(
    plan=PLAN.key, fidelity="F2", cost="size", unit="bytes",
    layers=(
        LayerResult(
            "stem", "conv", (4, 2, 3, 3), "50% zero w4", 0.5, 0.75, 1.0, 4, 32,
            dense_bytes=288, bytes=20, dense_macs=4000, macs=1500,
        ),
        LayerResult(LONG, "linear", (8, 4), "w8", 0.0, 1.0, 1.0, 8, 32,
                    dense_bytes=128, bytes=30, dense_macs=320, macs=320),
    ),
    curves=(
        ErrorCurve(
            "stem",
            (
                CurvePoint("90% zero w2", 10, 0.1), CurvePoint("50% zero w4", 20, 0.01),
                CurvePoint("bad", 25, 0.5), CurvePoint("w8", 60, 0.001),
            ),
            (0, 1, 3), 1, 0,
        ),
    ),
    prices=(Price("stem", 0.009, "w8", 40, 0.0085), Price(LONG, None, "", 0, 0.0)),
    ablations=(LayerAblation("stem", "50% zero w4", "90% zero w2", 10, -0.09, -0.02, 0.015, True),),
    predictions=Predictions(
        "search", 400, 0.955, tuple(ClassAccuracy(f"class{i}", 40, 0.9, 0.9 - i / 100)
        for i in range(7)), CALIBRATION, Calibration(0.0375, ()),
        (ChangedSample(1, "a", "a", "b", 0.9, 0.8, 1.5, ""),),
    ),
    policy=PolicyPicture(
        "DDPG", ("sparsity", "weight bits"), ("stem", LONG), "merit",
        Sweep(("size=5.00%", "size=10.00%"), 1, (((0.5, -0.5), (0.0, 0.0)),) * 2,
              (("90% zero w2", "w8"), ("50% zero w4", "w8")), (0.2, 0.125), (0.1, 0.0625)),
        (Surface("stem", (-1.0, 1.0), (-1.0, 0.0), ((0.1, 0.2), (0.7, 0.3)), (0.5, -0.5)),),
        (Influence("kernel size", 0.25), Influence("depth", 0.125)),
        Movement((10, 20, 30), (((0.0, 0.0), (0.0, 0.0)), ((0.5, 0.5), (0.5, 0.5)),
                                ((0.25, 0.5), (0.5, 0.5)))),
    ),
    study=StudyPicture(
        "TPESampler", 40, (Parameter("stem[0]", 0.75, (0.25, -0.5), (0.1, 0.9)),
                           Parameter(f"{LONG}[0]", 0.25, (0.0,), (0.1,))),
    ),
    left_out={"latency": "onnxruntime is not [installed]"},
)  # fmt: skip


@pytest.fixture
def record() -> RunRecord:
    baselines = {"random": (outcome(0.7, 80, plan=OTHER),)}
    return RunRecord("run[/b]", CONFIG, OUTCOMES, baselines, SUMMARY, FINDINGS)


def shown(parts: Sequence[RenderableType], width: int = 160) -> str:
    console = Console(width=width, file=None, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        for part in parts:
            console.print(part)
    return capture.get()


def test_multipliers_are_shown_the_furthest_from_the_estimate_first() -> None:
    near, far = (
        LayerMultiplier("near", 1.2, 0.4, 0.0, 0.25), LayerMultiplier("far", 0.4, 0.1, -0.5, 0.1)
    )  # fmt: skip
    text = shown([multiplier_table(replace(FINDINGS, multipliers=(near, far)))])
    assert text.index("far") < text.index("near")
    for part in ("0.40", "-0.50", "1.20", "+0.00"):
        assert part in text


def first_column(text: str, heading: str, second: str) -> str:
    """Returns the first column of the table with these headings, its lines joined."""
    lines = text.splitlines()
    head = next(i for i, x in enumerate(lines) if x.strip().startswith(heading) and second in x)
    at = lines[head].index(second)
    rows = lines[head + 2 :]
    end = next((i for i, line in enumerate(rows) if not line.strip()), len(rows))
    return "".join(line[:at].strip() for line in rows[:end])


def test_the_overview_has_every_part(record: RunRecord) -> None:
    text = shown(inspection_overview(record))
    for part in (
        "Run run[/b]", "net[red]", "size=10% (<= 100 bytes)", "3 of 4 in 6.5 s", "complete",
        "accuracy 84.00% (F2, 1,000 images)", "50% zero w4", "███", "268", "-62.5%", "all layers",
        "first, the solver's plan", "-0.2000", "-0.1500", "best of random", "▁▁█",
        "Front of accuracy against size", "7.00%", "75.00%", "9.50%",
        "Marginal prices", "at its top", "1 of 1 difference lowered", "-0.02", "+1.50%",
        "kernel size", "████████████ 0.25", "size=10.00%", "0.0625", "the run's own",
        "largest 0.5", "stem[0]", "75.0%", "TPESampler, 40 trials", "95.50%",
        "0.0125 dense, 0.0375 compressed", "6 of 7", "(5 of 6 classes)", "class6", "-6.00%",
        "latency: onnxruntime is not [installed]",
    ):  # fmt: skip
        assert part in text, part
    assert "class1" not in text and "Nobody looked" not in text


def test_channels_and_rank_have_columns_only_where_they_go(record: RunRecord) -> None:
    text = shown(inspection_overview(record))
    assert "channels  " in text and "rank" not in text
    assert "channels  " not in shown(inspection_overview(replace(record, findings=None)))


@pytest.mark.parametrize("width", [80, 120])
def test_a_name_of_120_characters_is_shown_whole(record: RunRecord, width: int) -> None:
    assert len(LONG) == 120
    text = shown(inspection_overview(record), width)
    assert max(map(len, text.splitlines())) <= width
    assert LONG in first_column(text, "layer", "choice")
    assert LONG in first_column(text, "layer", "next choice")
    assert f"{LONG}[0]" in first_column(text, "parameter", "importance")
    layer = shown(inspection_of_layer(record, LONG), width)
    assert LONG in "".join(layer.split("choice")[0].split())


def test_one_layer_has_every_part(record: RunRecord) -> None:
    text = shown(inspection_of_layer(record, "stem"))
    for part in (
        "Layer stem", "conv", "4x2x3x3", "288 -> 20 (6.9%)", "4,000 -> 1,500 (37.5%)", "75.0%",
        "3 of 4 choices", "solver's", "chosen", "█▅▁ 0.1 to 0.001 nats", "9 nats per 1,000 bytes",
        "w8: 40 bytes would save 0.0085 nats", "instead of the solver's 90% zero w2",
        "-0.02 nats measured (-0.09 estimated), accuracy +1.50%, for +10 bytes",
        "size=5.00%", "+0.500", "the run's own", "+0.000 to +0.250", "evaluations 10 to 30",
        "sparsity -1.00, weight bits +0.00", "sparsity +0.50, weight bits -0.50",
        "0.1 to 0.7 (merit)", "stem[0]", "-0.5", "Choices tried here", "w2",
    ):  # fmt: skip
        assert part in text, part
    assert "bad" not in text and "kernel size" not in text


def test_a_choice_off_the_front_is_marked(record: RunRecord) -> None:
    curve = replace(FINDINGS.curves[0], chosen=2)
    text = shown(
        inspection_of_layer(replace(record, findings=replace(FINDINGS, curves=(curve,))), "stem")
    )
    assert "chosen, undercut" in text
    none = replace(record, findings=replace(FINDINGS, curves=(replace(curve, chosen=None),)))
    assert "chosen" not in shown(inspection_of_layer(none, "stem")).split("What it is worth")[0]


def test_an_unknown_layer_gets_a_suggestion(record: RunRecord) -> None:
    with pytest.raises(LayerError, match=r"no layer named 'sten'. Did you mean 'stem'"):
        inspection_of_layer(record, "sten")


def test_a_run_that_nobody_looked_into(record: RunRecord) -> None:
    bare = replace(record, findings=None)
    for parts in (inspection_overview(bare), inspection_of_layer(bare, "stem")):
        text = shown(parts)
        assert "Nobody looked into this run yet" in text and "20" in text
    assert "Marginal" not in shown(inspection_overview(bare))


def test_a_run_that_was_stopped(record: RunRecord) -> None:
    note = "The run was stopped early; `autocomp resume` continues it."
    early = replace(
        record, outcomes=OUTCOMES[:2], summary=None, findings=None, notes=(note,), baselines={}
    )
    text = shown(inspection_overview(early))
    for part in ("stopped early", "2 of 4 in 4.0 s", "accuracy 80.00% (F1", "w2", note):
        assert part in text, part
    assert "Choices tried here" in shown(inspection_of_layer(early, "stem"))
    assert inspection_json(early)["complete"] is False


def test_a_run_without_a_feasible_outcome(record: RunRecord) -> None:
    bad = replace(OUTCOMES[0], within_budget=False)
    for outcomes in ((), (bad,)):
        none = RunRecord("none", CONFIG, outcomes, {}, None, None)
        text = shown(inspection_overview(none))
        assert "no plan within the budgets" in text
        assert ("over budget" in text) == bool(outcomes)
        assert json.loads(json.dumps(inspection_json(none)))["best"] is None
        with pytest.raises(LayerError, match="Known: none"):
            inspection_of_layer(none, "stem")


def test_findings_of_an_earlier_plan_are_marked(record: RunRecord) -> None:
    old = replace(record, findings=replace(FINDINGS, plan=OTHER.key))
    assert "about an earlier best plan" in shown(inspection_overview(old))
    assert "about an earlier best plan" in shown(inspection_of_layer(old, "stem"))


def test_empty_parts_of_findings_show_nothing(record: RunRecord) -> None:
    empty = Findings(PLAN.key, "F2", "size", "bytes", ())
    policy = PolicyPicture(
        "PPO", (), (), "", Sweep((), 0, (), (), (), ()), (), (), Movement((), ())
    )
    few = replace(empty, policy=policy, study=StudyPicture("TPESampler", 0, ()))
    for findings in (empty, few):
        text = shown(inspection_overview(replace(record, findings=findings)))
        assert "50% zero w4" in text and "policy" not in text and "parameter" not in text


def test_no_class_lost(record: RunRecord) -> None:
    assert FINDINGS.predictions is not None
    same = replace(FINDINGS.predictions, classes=(ClassAccuracy("a", 4, 0.5, 0.75),))
    text = shown(inspection_overview(replace(record, findings=replace(FINDINGS, predictions=same))))
    assert "0 of 1" in text and "Classes that lost most" not in text


def test_json_both_ways(record: RunRecord) -> None:
    values = inspection_json(record)
    assert json.loads(json.dumps(values, allow_nan=False)) == json.loads(json.dumps(values))
    assert values["outcomes"] == {"evaluations": 3, "within_budget": 3, "finalists": 1}
    assert [p["evaluation"] for p in values["best_so_far"]] == [1, 3]
    assert [o["costs"]["size"] for o in values["front"]] == [70, 90, 95]
    assert values["best"] == OUTCOMES[-1].to_json()
    assert Summary.from_json(values["summary"]) == SUMMARY
    assert values["findings"]["prices"][0]["saved"] == 0.009
    assert values["settings"]["seed"] == 3


def test_numbers_that_are_not_finite_become_null(record: RunRecord) -> None:
    odd = replace(OUTCOMES[0], divergence=float("nan"))
    values = inspection_json(replace(record, outcomes=(odd,)))
    assert json.loads(json.dumps(values, allow_nan=False))["best"]["divergence"] is None
