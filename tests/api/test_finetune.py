"""Training a run, a file or a network, from Python and the command line; killed and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autocomp
from autocomp.artifacts.container import unpack
from autocomp.cli.main import main
from autocomp.core.fidelity import Fidelity
from autocomp.data import load_data
from autocomp.errors import RunError, TrainingError
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.runs.folder import Run
from autocomp.runs.summary import Summary
from autocomp.training import TrainingConfig, TrainingPoint


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at 3 % of the digits network's bytes."""
    out = tmp_path_factory.mktemp("finetune") / "run"
    autocomp.search(
        "digits", "digits", "size=3%", agent="dp", evaluations=1, report="none", progress=False,
        out=out,
    )  # fmt: skip
    return out


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(searched, tmp_path / "run")


def test_a_run_is_trained_in_its_folder(run: Path) -> None:
    points: list[TrainingPoint] = []
    before = (run / "model.safetensors").read_bytes()
    old = Summary.from_json(Run.open(run).summary() or {})
    found = autocomp.finetune(run, epochs=6, on_point=points.append)
    assert (run / "one-shot.safetensors").read_bytes() == before
    assert not (run / "training-state.safetensors").exists()
    summary = Summary.from_json(Run.open(run).summary() or {})
    told = summary.training
    assert told is not None
    assert told.search == old.search
    assert (told.steps, told.settings, told.size) == (6 * 15, "epochs=6", len(before))
    assert [p.step for p in Run.open(run).training_points()] == [p.step for p in points]
    data = (run / "model.safetensors").read_bytes()
    assert summary.compressed["size"] == len(data) <= summary.limits["size"]
    assert (data != before) == found.kept == told.kept
    network = autocomp.load(run)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(network(images), found.network(images))
    score = autocomp.evaluate(run / "model.safetensors", "digits")
    assert score.quality == pytest.approx(summary.test.quality)
    assert "FineTuned(" in repr(found)
    # once more begins with the network of the search again
    again = autocomp.finetune(run, epochs=6)
    assert again.data == found.data


def test_a_search_ends_in_a_training(tmp_path: Path) -> None:
    result = autocomp.search(
        "digits", "digits", "size=3%", agent="dp", evaluations=1, report="plain", progress=False,
        out=tmp_path / "run", finetune=4, tuned=1, tuning="steps=10",
    )  # fmt: skip
    told = result.summary.training
    assert told is not None
    assert told.settings == "epochs=4"
    tuned = [o for o in result.outcomes if o.fidelity is Fidelity.TUNED]
    assert len(tuned) == 1
    assert tuned[0].within_budget
    assert len(result.file.read_bytes()) == result.summary.compressed["size"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Training" in page
    if told.kept:
        assert result.summary.search == told.search_trained


def test_a_training_that_was_killed_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = autocomp.finetune(shutil.copytree(run, tmp_path / "other"), epochs=3)
    monkeypatch.setattr("autocomp.training.course._STATE_SECONDS", 0.0)

    def stop(point: TrainingPoint) -> None:
        if point.step >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        autocomp.finetune(run, epochs=3, on_point=stop)
    assert (run / "training-state.safetensors").exists()
    with pytest.raises(RunError, match="of another; delete it"):
        autocomp.finetune(run, epochs=2)
    steps: list[int] = []
    found = autocomp.finetune(run, epochs=3, on_point=lambda p: steps.append(p.step))
    assert found.data == whole.data
    assert 1 < min(steps) <= 21
    told = [p.step for p in Run.open(run).training_points()]
    assert told == sorted(set(told))
    assert told[-1] == 45


def test_a_run_that_is_finished_again_says_what_goes(run: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    autocomp.finetune(run, steps=5)
    with pytest.warns(RuntimeWarning, match="written over; train it again"):
        result = autocomp.resume(run)
    assert result.file.read_bytes() == before
    assert result.summary.training is None
    left = {"training.jsonl", "one-shot.safetensors"} & {file.name for file in run.iterdir()}
    assert not left


def test_budgets_of_zeros_hold_after_a_training(tmp_path: Path) -> None:
    result = autocomp.search(
        "digits", "digits", ["size=10%", "macs=50%"], agent="dp", evaluations=1, report="none",
        progress=False, out=tmp_path / "run", finetune="steps=40",
    )  # fmt: skip
    told = result.summary.training
    assert told is not None
    assert told.zeros_trained >= told.zeros - 1e-3
    assert result.summary.compressed["macs"] <= result.summary.limits["macs"]


def test_a_file_and_a_network_are_trained_beside_their_teacher(run: Path, tmp_path: Path) -> None:
    dense = build_model("digits")
    file = run / "model.safetensors"
    before = file.read_bytes()
    found = autocomp.finetune(file, "digits", dense=dense, epochs=3, out=tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == found.data
    assert file.read_bytes() == before
    assert len(found.data) <= len(before)
    network = autocomp.load(file)
    again = autocomp.finetune(network, "digits", dense="digits", epochs=3)
    assert again.data == found.data
    larger = autocomp.finetune(network, "digits", dense=dense, epochs=1, size="size=6kB")
    assert len(larger.data) <= 6000
    assert unpack(larger.data).plan == unpack(before).plan


def test_another_teacher(run: Path, tmp_path: Path) -> None:
    plain = autocomp.finetune(shutil.copytree(run, tmp_path / "plain"), epochs=2)
    born = autocomp.finetune(run, epochs=2, teacher=plain.network)
    assert born.data != plain.data
    again = autocomp.finetune(run, epochs=2, teacher=tmp_path / "plain")
    assert again.data == born.data  # the same teacher, read from its run
    told = json.loads((run / "summary.json").read_text())["training"]
    assert "teacher=<object>" in told["settings"]
    with pytest.raises(TrainingError, match="`teacher` must be"):
        autocomp.finetune(run, teacher="nobody")


def test_a_lottery_ticket_begins_with_earlier_weights(tmp_path: Path) -> None:
    out = tmp_path / "run"
    autocomp.search(
        "digits", "digits", "size=40%", space="sparsity", agent="dp", evaluations=1, report="none",
        progress=False, out=out, keep=("linear",),
    )  # fmt: skip
    before = autocomp.load(out)
    early = build_model("digits")
    with torch.no_grad():
        for parameter in early.parameters():
            parameter.mul_(0.9)
    still = autocomp.finetune(
        autocomp.load(out), "digits", dense="digits", rewind=early, steps=1, lr=1e-12
    )
    trained = autocomp.finetune(
        autocomp.load(out), "digits", dense="digits", rewind=early, steps=40
    )
    assert trained.points[-1].loss < still.points[-1].loss
    setup_zero = before.get_parameter("block1.conv1.weight") == 0
    for found in (still, trained):
        network = autocomp.load(_written(found.data, tmp_path), before)
        assert torch.equal(network.get_parameter("block1.conv1.weight") == 0, setup_zero)
    quantized = tmp_path / "quantized"
    autocomp.search(
        "digits", "digits", "size=5%", agent="dp", evaluations=1, report="none", progress=False,
        out=quantized,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="where its plan quantizes none"):
        autocomp.finetune(quantized, rewind=early)
    with pytest.raises(TrainingError, match="`rewind` must be"):
        autocomp.finetune(out, rewind=3)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="of its own shapes"):
        autocomp.finetune(out, rewind={"conv1.weight": torch.zeros(2)})


def _written(data: bytes, folder: Path) -> Path:
    path = folder / "written.safetensors"
    path.write_bytes(data)
    return path


def test_a_network_is_trained_in_one_s_own_loop(run: Path, tmp_path: Path) -> None:
    network = autocomp.load(run)
    images, labels = load_data("digits").calibration.batch(slice(0, 200))
    autocomp.trainable(network)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    first = nn.functional.cross_entropy(network(images), labels).detach()
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(network(images), labels) < first
    autocomp.freeze(network)
    again = autocomp.load(autocomp.save(network, tmp_path / "own.safetensors"))
    zeros = [(autocomp.load(run).get_parameter(n) == 0) for n in ("conv1.weight",)]
    assert bool((again.get_parameter("conv1.weight")[zeros[0]] == 0).all())


def test_the_command_line_trains(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", str(run), "--epochs", "2", "--set", "lr=0.002,masks=fixed"]) == 0
    out = capsys.readouterr().out
    assert "search accuracy:" in out and "of the codes moved" in out.replace("\n", " ")
    told = json.loads((run / "summary.json").read_text())["training"]
    assert told["settings"] == "epochs=2,lr=0.002,masks=fixed"
    assert main(["finetune", str(run), "--set", "lrr=1"]) == 2
    assert main(["finetune", str(run), "--loss", "kdd"]) == 2
    assert main(["losses"]) == 0
    assert "kd" in capsys.readouterr().out


def test_what_cannot_be_trained_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="must come from autocomp.load"):
        autocomp.finetune(nn.Linear(2, 2), "digits", dense=nn.Linear(2, 2))
    network = autocomp.load(run)
    with pytest.raises(TrainingError, match="needs `dense`"):
        autocomp.finetune(network, "digits")
    with pytest.raises(TrainingError, match="needs `data`"):
        autocomp.finetune(network, dense="digits")
    with pytest.raises(TrainingError, match="Did you mean 'epochs'"):
        autocomp.finetune(run, epoch=3)
    with pytest.raises(TrainingError, match="`augment` must be"):
        autocomp.finetune(run, augment=3)
    with pytest.raises(autocomp.AutocompError, match="one budget of bytes"):
        autocomp.finetune(network, "digits", dense="digits", size="macs=50%")
    with pytest.raises(TrainingError, match="in its own folder.*out="):
        autocomp.finetune(run, out=tmp_path / "x.safetensors")
    with pytest.raises(TrainingError, match="What is trained must be"):
        autocomp.finetune(None)  # type: ignore[arg-type]
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match="must be finished"):
        autocomp.finetune(run)


def test_a_damaged_curve_is_said(run: Path) -> None:
    folder = Run.open(run)
    (run / "training.jsonl").write_text('{"step": 1}\n{"step"')
    with pytest.raises(RunError, match=r"Line 1 of .*training\.jsonl"):
        folder.training_points()
    (run / "training.jsonl").write_text("")
    assert folder.training_points() == []


def test_tuned_is_a_level_of_its_own() -> None:
    problem = CompressionProblem(
        build_model("digits"), "digits", "size=3%",
        ProblemSettings(tuning=TrainingConfig(steps=10)),
    )  # fmt: skip
    from autocomp.search_spaces import FeasibleSpace, make_space

    feasible = FeasibleSpace.build(problem, make_space("joint"))
    plan = feasible.plan(feasible.allocation.starts()[0])
    outcome = problem.evaluate(plan, "tuned")
    assert outcome.fidelity is Fidelity.TUNED and outcome.n == len(problem.data.search)
    model, data = problem.compressed(plan, "F3")
    assert outcome.costs["size"] == len(data) <= problem.limits["size"]
    assert problem.score_of(model).quality == outcome.quality
    pair = problem.outputs(plan, "F3")
    assert pair.compressed.shape == pair.dense.shape
    assert problem.test(plan, "F3").compressed.n == len(problem.data.test)
    other = problem.under("size=2.5%")
    assert other.evaluate(plan, "F3").costs["size"] <= other.limits["size"]


def test_what_an_earlier_training_returned_goes_on_and_teaches(tmp_path: Path) -> None:
    found = autocomp.quantize("digits", "digits", weights=2, activations=32, out=tmp_path / "q",
                              report="none", threads=1, progress=False)  # fmt: skip
    first = autocomp.finetune(found.model, "digits", dense="digits", epochs=1, progress=False)
    second = autocomp.finetune(first, "digits", dense="digits", epochs=1, progress=False)
    assert len(second.data) <= len(first.data)
    taught = autocomp.finetune(
        found.model, "digits", dense="digits", epochs=1, teacher=first, progress=False
    )
    assert taught.data != first.data


def test_more_that_is_refused(run: Path) -> None:
    network = autocomp.load(run)

    def broken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        raise ValueError("no such view")

    given: dict[str, Any] = {"data": "digits", "dense": "digits", "progress": False}
    for settings, said in (
        ({"threads": "a"}, "threads"),
        ({"on_point": 3}, "`on_point` must be a function"),
        ({"loss": "1e400*kd"}, "must be a number"),
        ({"augment": broken}, "`augment` raised ValueError: no such view"),
    ):
        with pytest.raises(autocomp.AutocompError, match=said) as caught:
            autocomp.finetune(network, **given, **settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(autocomp.AutocompError, match="leave size= out"):
        autocomp.finetune(run, size="size=9%")
