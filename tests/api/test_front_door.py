"""The package in Python: the requests, what they hand back, and what they refuse."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocomp.agents import Agent, Evaluator, SearchTask, make_agent
from torch import nn

import autocomp
from autocomp.compression.store import CompressionStore
from autocomp.costs import Params
from autocomp.data import load_data
from autocomp.runs.closing import closing_rows

SPACE = "joint:levels=5,weight_bits=2/4/8"


@pytest.fixture(scope="module")
def result(digits_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> autocomp.Result:
    """A finished search without a report."""
    return autocomp.search(
        "digits", "digits", "size=10%", agent="local", evaluations=4, threads=1,
        report="none", out=tmp_path_factory.mktemp("front") / "run", progress=False,
        weights=digits_weights, space=SPACE,
    )  # fmt: skip


def test_every_public_name_is_there() -> None:
    for name in autocomp.__all__:
        assert getattr(autocomp, name) is not None
        assert name in dir(autocomp)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        autocomp.serach  # noqa: B018


def test_a_result_shows_itself(result: autocomp.Result) -> None:
    text = repr(result)
    size, dense = result.summary.compressed["size"], result.summary.dense["size"]
    assert result.file.stat().st_size == size
    assert len(text) < 250 and f"{size:,} of {dense:,} bytes" in text
    table = result._repr_html_()
    for row in closing_rows(result.summary):
        assert f"<td>{row[1]}</td><td>{row[2]}</td>" in table
    assert "the plan it started from" in table or "found none better" in table


def test_a_result_writes_its_report_once(result: autocomp.Result) -> None:
    page = result.report()
    assert page.is_file()
    before = page.stat().st_mtime_ns
    assert result.report() == page and page.stat().st_mtime_ns == before


def test_evaluate_scores_a_file_as_the_search_did(result: autocomp.Result) -> None:
    score = autocomp.evaluate(result.file, "digits")
    assert score.accuracy == result.summary.test.accuracy
    assert score.n == result.summary.test.n
    with pytest.raises(autocomp.AutocompError, match="'tset'.*'test'"):
        autocomp.evaluate(result.file, "digits", split="tset")


def test_measure_is_the_networks_own(result: autocomp.Result) -> None:
    found = autocomp.measure("digits", latency=False)
    assert found.macs == result.summary.dense["macs"]
    again = autocomp.measure(result.model, input=(1, 8, 8), latency=False)
    assert [layer.name for layer in again.layers] == [layer.name for layer in found.layers]


def test_compare_needs_two_runs_of_a_problem(
    result: autocomp.Result, tmp_path: Path, digits_weights: Path
) -> None:
    with pytest.raises(autocomp.AutocompError, match="at least 2 runs"):
        autocomp.compare([result.run.path])
    other = autocomp.search(
        "digits", "digits", "size=10%", agent="dp", evaluations=2, threads=1, report="none",
        out=tmp_path / "other", progress=False, weights=digits_weights, space=SPACE,
    )  # fmt: skip
    page = tmp_path / "page.html"
    found = autocomp.compare([result.run.path, other.run.path], out=page)
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert len(found.groups) == 2


def test_export_names_the_formats(result: autocomp.Result) -> None:
    with pytest.raises(autocomp.AutocompError, match="'onx'.*'onnx'"):
        autocomp.export(result.run.path, "onx")


@pytest.mark.parametrize("budget", [{"size": 0.1}, autocomp.Budget("size", 0.1), ["size=10%"]])
def test_budgets_in_python(budget: object, result: autocomp.Result) -> None:
    problem = autocomp.CompressionProblem(result.model, "digits", budget)
    assert problem.limits == {"size": int(0.1 * problem.costs["size"].reference)}


def test_a_bare_number_is_no_budget(result: autocomp.Result) -> None:
    with pytest.raises(autocomp.AutocompError, match=r"\{'size': 0.08\}, but got 0.1") as caught:
        autocomp.CompressionProblem(result.model, "digits", 0.1)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


class Doubled(Params):
    """Twice the weights."""

    name = "doubled"

    def of_layer(self, layer: object, choice: autocomp.Choice) -> int:
        """Returns twice what the parameters are."""
        return 2 * super().of_layer(layer, choice)  # type: ignore[arg-type]


def doubled(store: CompressionStore) -> Doubled:
    """Makes the cost, as a factory of the user's own would."""
    return Doubled(store)


@pytest.mark.parametrize("given", ["class", "function", "name"])
def test_a_cost_of_the_users_own_in_a_budget(given: str, result: autocomp.Result) -> None:
    cost = {"class": Doubled, "function": doubled, "name": "params"}[given]
    problem = autocomp.CompressionProblem(result.model, "digits", autocomp.Budget(cost, 0.5))
    (name,) = problem.limits
    share = problem.limits[name] / problem.costs[name].reference
    assert name == ("params" if given == "name" else "doubled")
    assert share == pytest.approx(0.5, abs=1e-3)


def test_a_class_in_place_of_an_instance_works_or_is_refused_in_one_line() -> None:
    kind = type(make_agent("local"))
    try:
        made = make_agent(kind)
    except autocomp.AutocompError as error:
        assert "\n" not in str(error) and kind.__name__ in str(error)
    else:
        assert isinstance(made, kind)


def test_a_problem_takes_the_data_that_search_takes(result: autocomp.Result) -> None:
    splits = load_data("digits")
    pairs = tuple(
        split.batch(slice(None))
        for split in (splits.calibration, splits.search, splits.test)
    )  # fmt: skip
    limits = {
        tuple(autocomp.CompressionProblem(result.model, data, "size=10%").limits.items())
        for data in ("digits", splits, pairs)
    }
    assert len(limits) == 1
    with pytest.raises(autocomp.AutocompError, match="digts"):
        autocomp.CompressionProblem(result.model, "digts", "size=10%")


def test_what_happens_is_logged_and_nothing_is_printed(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    digits_weights: Path,
) -> None:  # fmt: skip
    with caplog.at_level(logging.INFO, logger="autocomp"):
        autocomp.search(
            "digits", "digits", "size=10%", agent="dp", evaluations=1, threads=1, report="none",
            out=tmp_path / "run", weights=digits_weights, space=SPACE,
        )  # fmt: skip
    assert capsys.readouterr() == ("", "")  # nobody looks on
    text = caplog.text
    assert "1 evaluations, size=10%" in text and "F1: accuracy" in text and "plan chosen" in text
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("autocomp").handlers)


def test_progress_is_shown_to_a_person_and_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    digits_weights: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich asks whether it is in a terminal
    shown = {}
    for progress in (True, False):
        autocomp.search(
            "digits", "digits", "size=10%", agent="dp", evaluations=1, threads=1, report="none",
            out=tmp_path / str(progress), progress=progress, weights=digits_weights, space=SPACE,
        )  # fmt: skip
        shown[progress] = capsys.readouterr().err
    assert "best" in shown[True] and shown[False] == ""


def test_saving_what_was_changed_after_loading(result: autocomp.Result, tmp_path: Path) -> None:
    network = autocomp.load(result.file)
    same = autocomp.save(network, tmp_path / "same.safetensors")
    again = autocomp.load(same)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name

    bias = next(m for m in network.modules() if isinstance(m, nn.Linear)).bias
    with torch.no_grad():
        bias.add_(1.0)
    changed = autocomp.load(autocomp.save(network, tmp_path / "changed.safetensors"))
    kept = next(m for m in changed.modules() if isinstance(m, nn.Linear)).bias
    # 16-bit side information, 10 bits of mantissa
    assert torch.allclose(kept, bias, rtol=2**-10, atol=1e-4)
    assert not torch.allclose(kept, bias - 1.0, atol=0.5)


def test_saving_keeps_zeros_and_the_grid(
    result: autocomp.Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = autocomp.load(result.file)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.add_(0.3 * module.weight.abs().max())
    with (
        caplog.at_level(logging.INFO, logger="autocomp"),
        pytest.warns(RuntimeWarning, match="far from what their"),
    ):
        file = autocomp.save(network, tmp_path / "moved.safetensors")
    assert "weights were moved by up to" in caplog.text
    after = autocomp.load(file).state_dict()
    plan = result.plan
    for name, choice in plan.items():
        was, now = before[f"{name}.weight"], after[f"{name}.weight"]
        if choice.weights.sparsity or choice.weights.pattern:
            assert bool((now[was == 0] == 0).all()), name
        if choice.weights.bits < 32:
            for row in now.flatten(1):
                assert len(row.unique()) <= 2**choice.weights.bits, name
    assert file.stat().st_size < result.summary.dense["size"]


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda net: net.linear.weight.data.fill_(float("nan")), "'linear.weight' holds NaN"),
        (lambda net: setattr(net, "linear", nn.Linear(7, 10)), "'linear.weight' differs"),
        (lambda net: setattr(net, "more", nn.Linear(1, 1)), "'more.weight' differs"),
    ],
)
def test_what_cannot_be_saved(
    result: autocomp.Result, tmp_path: Path, spoil: object, rule: str
) -> None:
    network = autocomp.load(result.file)
    spoil(network)  # type: ignore[operator]
    with pytest.raises(autocomp.AutocompError, match=rule):
        autocomp.save(network, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_only_compressed_networks_can_be_saved(tmp_path: Path) -> None:
    with pytest.raises(autocomp.AutocompError, match=r"autocomp.load.*torch.save"):
        autocomp.save(nn.Linear(1, 1), tmp_path / "x.safetensors")


def small() -> tuple[nn.Module, Any]:
    """A network of two layers, and its data."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)).eval()
    inputs = torch.randn(64, 6)
    pair = (inputs, (inputs[:, 0] > 0).long())
    return network, (pair, pair, pair)


def search_small(out: Path, **more: Any) -> autocomp.Result:
    network, data = small()
    given = {"agent": "dp", "threads": 1, "progress": False, "report": "none"} | more
    return autocomp.search(network, data, given.pop("budget", "size=60%"), out=out, **given)


def test_measure_takes_a_file_and_leaves_a_network_as_it_was(result: autocomp.Result) -> None:
    dense = autocomp.measure("digits", latency=False)
    for thing in (result.file, str(result.file)):
        assert autocomp.measure(thing, latency=False).layers[0].input_shape == (1, 8, 8)
    network = small()[0].train()
    autocomp.measure(network, input=(6,), latency=False, keep="0")
    assert network.training
    double = autocomp.measure(small()[0].double(), input=(6,), latency=False)
    assert double.macs == 6 * 16 + 16 * 2 < dense.macs


@pytest.mark.parametrize(
    ("network", "given", "rule"),
    [
        (nn.Sequential(nn.Linear(6, 2)), {"input": 3}, "`input` must be a shape"),
        (nn.Sequential(nn.Linear(6, 2)), {"input": torch.zeros(0, 6)}, "batch is empty"),
        (nn.Sequential(nn.LazyLinear(2)), {"input": (6,)}, "'0' is lazy"),
        ({"0.weight": torch.zeros(9, 9)}, {}, "must be a function or class"),
    ],
)
def test_what_cannot_be_measured(network: Any, given: dict[str, Any], rule: str) -> None:
    with pytest.raises(autocomp.AutocompError, match=rule) as caught:
        autocomp.measure(network, latency=False, **given)
    assert "\n" not in str(caught.value)


def test_a_result_stands_for_its_folder(result: autocomp.Result) -> None:
    assert Path(result) == result.run.path
    assert autocomp.evaluate(result).accuracy == result.summary.test.accuracy
    first, again = autocomp.load(result), autocomp.load(result.file)
    assert torch.equal(first.linear.bias, again.linear.bias)
    assert len({result, result}) == 1


def test_a_run_goes_on_with_its_own_parts(tmp_path: Path) -> None:
    network, data = small()
    run = search_small(tmp_path / "run").run.path
    before = (run / "model.safetensors").read_bytes()
    for wrong in ({"budget": "size=25%"}, {"agent": make_agent("local")}):
        with pytest.raises(autocomp.AutocompError, match="must go on with its own"):
            autocomp.resume(run, model=network, data=data, progress=False, **wrong)
    assert (run / "model.safetensors").read_bytes() == before
    same = autocomp.resume(run, model=network, data=data, budget="size=60%", progress=False)
    assert same.file.read_bytes() == before


class Size(Params):
    """A cost that would take the place of the file's size."""


def test_a_cost_of_the_users_own_takes_no_built_in_name(result: autocomp.Result) -> None:
    with pytest.raises(autocomp.AutocompError, match="must not have the name of a built-in one"):
        autocomp.CompressionProblem(result.model, "digits", autocomp.Budget(Size, 0.5))
    built_in = autocomp.CompressionProblem(result.model, "digits", autocomp.Budget(Params, 0.5))
    assert list(built_in.limits) == ["params"]


class Silent(Agent):
    """An agent that forgets to return what it found."""

    def search(self, task: SearchTask) -> Any:
        """Evaluates one plan."""
        Evaluator(task).evaluate(task.feasible.plan(task.feasible.allocation.plan))


def test_parts_of_a_wrong_kind_are_refused_in_one_line(tmp_path: Path) -> None:
    network, data = small()
    refused: list[tuple[Any, str]] = [
        (lambda: search_small(tmp_path / "a", agent=Silent()), "must return a SearchResult"),
        (lambda: search_small(tmp_path / "b", keep=3), "`keep` must be"),
        (lambda: autocomp.CompressionProblem("digits", data, "size=60%"), "about a network"),
        (lambda: autocomp.CompressionProblem(network, data, "size=60%", {}), "`settings` must be"),
        (lambda: autocomp.Plan({"0": 3}), "takes a Choice"),
        (lambda: autocomp.train_policy([network], out=tmp_path / "p"), "TrainingNetwork"),
        (lambda: autocomp.evaluate("x", batch_size=1.5), "`batch_size` must be"),
        (lambda: autocomp.save(None, tmp_path / "x"), "autocomp.load"),
    ]
    for call, rule in refused:
        with pytest.raises(autocomp.AutocompError, match=rule) as caught:
            call()
        assert "\n" not in str(caught.value)
    problem = autocomp.CompressionProblem(network, data, {"size": np.float32(0.6)})
    with pytest.raises(autocomp.AutocompError, match="must be a Plan"):
        problem.evaluate(None)
    assert autocomp.Fidelity("full") is autocomp.Fidelity.FULL


def test_settings_of_other_types_that_say_the_same(tmp_path: Path) -> None:
    found = search_small(
        tmp_path / "run", budget="size=90%", cache=tmp_path / "cache",
        device=torch.device("cpu"), keep=["0"],
    )  # fmt: skip
    assert list(found.plan) == ["2"] and any((tmp_path / "cache").iterdir())


def test_clipped_weights_are_warned_of(result: autocomp.Result, tmp_path: Path) -> None:
    network = autocomp.load(result.file)
    with torch.no_grad():
        network.linear.weight.mul_(1.5)
    with pytest.warns(RuntimeWarning, match="'linear.weight' first"):
        autocomp.save(network, tmp_path / "clipped.safetensors")
