"""Searches that change shapes, end to end: every agent, ranks, criteria, latency, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.agents import AGENTS

import autocomp
from autocomp.api.session import Result
from autocomp.cli.main import main
from autocomp.compression.loading import read
from autocomp.core.outcome import Outcome
from autocomp.costs.latency.cost import Latency
from autocomp.errors import AgentError, UnknownNameError

WEIGHTS: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def trained(digits_weights: Path) -> None:
    WEIGHTS.append(digits_weights)


def search(folder: Path, **more: Any) -> Result:
    settings: dict[str, Any] = {
        "budget": "macs=50%", "agent": "random", "space": "structured:levels=5", "evaluations": 3,
        "weights": WEIGHTS[-1], "search_images": 100, "finalists": 1, "report": "none",
    }  # fmt: skip
    return autocomp.search("digits", "digits", out=folder, **{**settings, **more})


def check(result: Result, folder: Path) -> None:
    """The file holds the network that was judged, and every plan met the budgets."""
    assert all(o.within_budget for o in result.outcomes)
    path = folder / "model.safetensors"
    assert path.stat().st_size == result.summary.compressed["size"]
    images = torch.randn(4, 1, 8, 8)
    with torch.inference_mode():
        gap = (autocomp.load(path)(images) - result.model(images)).abs().max()
    assert float(gap) <= 1e-5


@pytest.mark.parametrize("agent", [name for name in AGENTS if name != "ilp"])
def test_every_agent_takes_channels_away(agent: str, tmp_path: Path) -> None:
    sizes = {"ppo": ":width=16,clone_steps=20"} | dict.fromkeys(
        ("ddpg", "td3", "sac"), ":width=16,clone_steps=20,pretrain_steps=20,updates=2"
    )
    result = search(tmp_path / "r", agent=agent + sizes.get(agent, ""), reconstructions=0)
    check(result, tmp_path / "r")
    parameters = sum(p.numel() for p in result.model.parameters())
    assert parameters == result.summary.compressed["params"] < 0.75 * 38_266


def test_the_integer_program_says_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="take dp"):
        search(tmp_path / "r", agent="ilp")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("space", "budget"),
    [
        ("structured:criteria=l1+taylor", "macs=50%,params=60%"),
        ("structured:ranks=4", "macs=40%"),
        ("rank:weight_bits=8", "size=12%"),
        ("full", "size=8%"),
        (
            "full:ranks=3,activation_bits=8/32,levels=4,channel_levels=5,weight_bits=3/4/8",
            "size=8%,macs=80%",
        ),
    ],
)
def test_every_structural_space_keeps_its_budgets(space: str, budget: str, tmp_path: Path) -> None:
    result = search(tmp_path / "r", space=space, budget=budget, agent="tpe", finalists=0)
    check(result, tmp_path / "r")
    assert {name: result.summary.compressed[name] <= limit
            for name, limit in result.summary.limits.items()} == dict.fromkeys(
                result.summary.limits, True)  # fmt: skip


@pytest.mark.parametrize("method", ["svd", "spatial-svd", "tucker", "tt"])
def test_every_decomposition_can_be_searched(method: str, tmp_path: Path) -> None:
    result = search(tmp_path / "r", space="rank:ranks=4", agent="dp", decomposition=method,
                    budget="params=60%", reconstructions=0)  # fmt: skip
    check(result, tmp_path / "r")
    record = read(tmp_path / "r" / "model.safetensors").structure
    assert record is not None and record["low_rank"]


def test_channels_stay_in_multiples(tmp_path: Path) -> None:
    result = search(tmp_path / "r", agent="dp", space="structured", round_to=8, reconstructions=0)
    widths = {m.out_channels for m in result.model.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths)


def test_a_latency_budget_is_estimated_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Latency, "noise", lambda self: 0)  # the machine may be busy
    result = search(tmp_path / "r", agent="dp", budget="latency=95%", reconstructions=0)
    summary = result.summary
    assert summary.compressed["latency"] <= summary.limits["latency"] < summary.dense["latency"]
    assert min(summary.measured["latency"]) > 0


def test_a_stopped_structural_run_arrives_where_an_unbroken_one_does(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "agent": "ddpg:width=16,clone_steps=20,pretrain_steps=20,updates=2",
        "evaluations": 8, "seed": 3,
        "space": "full:channel_levels=6,levels=4,weight_bits=2/4/8", "budget": "size=10%",
    }  # fmt: skip
    whole = search(tmp_path / "whole", **more)
    count = 0

    class Killed(Exception):
        pass

    def kill(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise Killed

    with pytest.raises(Killed):
        search(tmp_path / "broken", on_outcome=kill, **more)
    resumed = autocomp.resume(tmp_path / "broken")
    assert [o.plan for o in resumed.outcomes] == [o.plan for o in whole.outcomes]
    assert resumed.best.accuracy == whole.best.accuracy


def test_an_unknown_criterion_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="taylor"):
        search(tmp_path / "r", space="structured:criteria=tailor")


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("structural") / "run"
    space = "full:channel_levels=6,levels=4,weight_bits=3/4/8,activation_bits=8"
    search(path, agent="dp", space=space, budget="size=10%", report="full")
    return path


def test_a_run_is_exported_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["export", str(folder), "--split", "search"], capsys)
    assert code == 0
    assert (folder / "model.onnx").stat().st_size > 0
    for text in ("block3.conv2", "accuracy", "Size only", "side by side", "model.onnx"):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "missing"], "give --data"),
        (["export", "missing", "--data", "digits"], "missing"),
        (["measure", "digits", "--input", "8x"], "3x32x32"),
        (["measure", "resnet20", "--keep", "conv9"], "conv9"),
    ],
)
def test_bad_input_ends_with_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1


def test_exporting_a_run_that_is_not_complete(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "config.json").write_bytes((folder / "config.json").read_bytes())
    code, _, err = run(["export", str(tmp_path / "r")], capsys)
    assert code == 2
    assert "resume it first" in err


def test_measuring_a_network_and_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["measure", "digits", "--no-latency", "--json"], capsys)
    assert code == 0
    found = json.loads(out)
    assert "block1.conv1" in out
    code, out, _ = run(["measure", str(folder / "model.safetensors"), "--no-latency",
                        "--input", "1x8x8"], capsys)  # fmt: skip
    assert code == 0
    assert "linear" in out
    assert found
