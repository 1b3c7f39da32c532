"""The main job end to end: a search, its folder, its file, resuming it."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.agents import Agent, Evaluator, SearchResult, SearchTask
from torch import nn

import autocomp
from autocomp.api.session import Result
from autocomp.artifacts.container import pack
from autocomp.compression.loading import read
from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.errors import AgentError, AutocompError, DataError, ModelError, RunError
from autocomp.runs.folder import Run

DDPG = "ddpg:width=16,clone_steps=20,pretrain_steps=20,updates=2"
PPO = "ppo:width=16,clone_steps=20"
AGENTS = [DDPG, PPO, "tpe", "cmaes", "greedy", "random", "local"]
SPACE = "joint:levels=4,weight_bits=2/4/8"


@pytest.fixture(scope="module", autouse=True)
def trained(digits_weights: Path) -> None:
    WEIGHTS.append(digits_weights)


WEIGHTS: list[Path] = []


def search(folder: Path, **more: Any) -> Result:
    settings: dict[str, Any] = {
        "budget": "size=12%", "agent": "random", "evaluations": 6, "weights": WEIGHTS[-1],
        "space": SPACE, "search_images": 100, "report": "none",
    }  # fmt: skip
    return autocomp.search("digits", "digits", out=folder, **{**settings, **more})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("run") / "r"
    return search(folder, agent="tpe", evaluations=8, report="full")


def test_the_trail_is_complete(finished: Result) -> None:
    names = {path.name for path in finished.run.path.iterdir()}
    assert names == {
        "config.json", "outcomes.jsonl", "plan.json", "model.safetensors", "summary.json",
        "agent.study.log", "inspection.json", "report.html",
    }  # fmt: skip
    config = finished.run.config()
    assert config["settings"]["agent"] == "tpe"
    assert config["versions"]["torch"] == torch.__version__
    lines = (finished.run.path / "outcomes.jsonl").read_text().splitlines()
    assert [Outcome.from_json(json.loads(line)) for line in lines] == finished.run.outcomes()
    assert [o for o in finished.run.outcomes() if o.fidelity == "F1"] == list(finished.outcomes[:8])
    assert (
        Plan.from_json(json.loads((finished.run.path / "plan.json").read_text())) == finished.plan
    )


def test_the_file_meets_its_budget_and_is_as_long_as_said(finished: Result) -> None:
    length = (finished.run.path / "model.safetensors").stat().st_size
    assert length == finished.summary.compressed["size"] <= finished.summary.limits["size"]
    assert abs(finished.best.costs["size"] - length) <= 0.02 * length


def test_the_file_gives_the_evaluated_network(finished: Result) -> None:
    network = autocomp.load(finished.run.path / "model.safetensors")
    images = torch.randn(8, 1, 8, 8)
    with torch.inference_mode():
        gap = (network(images) - finished.model(images)).abs().max()
    assert float(gap) <= 1e-5
    assert not network.training


def test_the_best_is_the_best_of_its_finalists(finished: Result) -> None:
    finalists = [o for o in finished.outcomes if o.fidelity != "F1"]
    assert {o.fidelity for o in finalists} == {"F2", "F2S"}
    assert finished.best == max(finalists, key=lambda o: o.rank)
    assert finished.summary.search.accuracy == finished.best.accuracy
    assert finished.summary.evaluations == 8


@pytest.mark.parametrize("agent", AGENTS)
def test_a_stopped_run_arrives_where_an_unbroken_one_does(agent: str, tmp_path: Path) -> None:
    # reconstructing is the same for all agents: two of them show that it goes on, too
    more = {} if agent in (DDPG, "tpe") else {"reconstructions": 0}
    whole = search(tmp_path / "whole", agent=agent, evaluations=12, seed=5, **more)

    class Killed(Exception):
        pass

    count = 0

    def kill(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        if count == 7:
            raise Killed

    with pytest.raises(Killed):
        search(tmp_path / "cut", agent=agent, evaluations=12, seed=5, on_outcome=kill, **more)
    with (tmp_path / "cut" / "outcomes.jsonl").open("a") as file:
        file.write('{"accuracy": 0.5, "lo')  # the evaluation in flight
    recorded = len(Run(tmp_path / "cut").outcomes())
    assert recorded == 7
    again = autocomp.resume(tmp_path / "cut")
    assert again.plan == whole.plan
    assert again.best.accuracy == whole.best.accuracy
    assert [o.plan for o in again.outcomes] == [o.plan for o in whole.outcomes]
    lines = (tmp_path / "cut" / "outcomes.jsonl").read_text().splitlines()
    assert len(lines) == len((tmp_path / "whole" / "outcomes.jsonl").read_text().splitlines())


def test_resuming_evaluates_nothing_twice(finished: Result, tmp_path: Path) -> None:
    shutil.copytree(finished.run.path, tmp_path / "r")
    (tmp_path / "r" / "summary.json").unlink()
    before = (tmp_path / "r" / "outcomes.jsonl").read_text()
    again = autocomp.resume(tmp_path / "r")
    assert (tmp_path / "r" / "outcomes.jsonl").read_text() == before
    assert again.plan == finished.plan


def test_the_test_split_is_read_once_at_the_end(tmp_path: Path) -> None:
    data = autocomp.data.load_data("digits")
    reads = []
    result = autocomp.search(
        "digits", data, "size=12%", agent="random", evaluations=3, out=tmp_path / "r",
        weights=WEIGHTS[-1], space=SPACE,
        on_outcome=lambda o: reads.append(data.test.reads),
    )  # fmt: skip
    assert set(reads) == {0}
    assert data.test.reads == 1
    assert result.summary.test.n == len(data.test)


def test_objects_are_searched_and_resumed_with_objects(
    tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    class Middle(Agent):
        def search(self, task: SearchTask) -> SearchResult:
            evaluator, feasible = Evaluator(task), task.feasible
            evaluator.evaluate(feasible.plan(feasible.actions.fit(feasible.middle)))
            return SearchResult(evaluator.outcomes)

    result = autocomp.search(
        tiny_net, tiny_data, ["size=60%", "macs=80%"], agent=Middle(), evaluations=5,
        out=tmp_path / "r", keep=("0",), warm_start="none", space=SPACE, report="none",
    )  # fmt: skip
    assert "0" in result.summary.left_dense
    assert all(result.best.costs[n] <= limit for n, limit in result.summary.limits.items())
    network = autocomp.load(tmp_path / "r" / "model.safetensors", model=tiny_net)
    images = tiny_data.example_inputs(4)
    assert torch.allclose(network(images), result.model(images), atol=1e-5)
    with pytest.raises(AutocompError, match=r"load\(path, model=network\)"):
        autocomp.load(tmp_path / "r" / "model.safetensors")
    with pytest.raises(RunError, match="model given as a Python object"):
        autocomp.resume(tmp_path / "r")
    again = autocomp.resume(tmp_path / "r", model=tiny_net, data=tiny_data, agent=Middle())
    assert again.plan == result.plan
    other = copy.deepcopy(tiny_net)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(RunError, match="its own network"):
        autocomp.resume(tmp_path / "r", model=other, data=tiny_data, agent=Middle())


@pytest.mark.parametrize(
    "text",
    [
        "joint:levels=6",
        "nm:weight_bits=3/4/8",
        "bits:activation_bits=4/8,weight_bits=2/3/4",
        "sparsity:levels=6,weight_bits=4",
    ],
)
def test_every_space_gives_a_file_within_budget(text: str, tmp_path: Path) -> None:
    result = search(tmp_path / "r", space=text, budget="size=11%", evaluations=2)
    assert (tmp_path / "r" / "model.safetensors").stat().st_size <= result.summary.limits["size"]


FEW: dict[str, Any] = {"search_images": 40, "finalists": 1, "evaluations": 4}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The exact solver's plan alone."""
    return search(tmp_path_factory.mktemp("dp") / "r", agent="dp", warm_start="none", **FEW)


@pytest.mark.parametrize("agent", ["random", "uniform", "tpe", DDPG, "dp", "ilp"])
def test_no_search_ends_below_its_warm_start(agent: str, plain: Result, tmp_path: Path) -> None:
    # one plan, scored again, and reconstructed
    assert [o.fidelity for o in plain.outcomes] == ["F1", "F2", "F2S"]
    found = search(tmp_path / "r", agent=agent, **FEW)
    assert found.outcomes[0].plan == plain.plan
    for level in ("F2", "F2S"):
        assert plain.plan in [o.plan for o in found.outcomes if o.fidelity == level]
    assert found.best.rank >= plain.best.rank


def test_multipliers_are_searched_end_to_end(tmp_path: Path) -> None:
    result = search(tmp_path / "r", agent=DDPG, space="coefficients:menu=bits", evaluations=8)
    assert (tmp_path / "r" / "model.safetensors").stat().st_size <= result.summary.limits["size"]
    again = copy.deepcopy(result.run.config()["settings"])
    assert again["warm_start"] == "dp"


def test_an_agent_of_the_old_contract_is_told(tmp_path: Path) -> None:
    class Old:
        def search(self, problem: Any, space: Any, *, n_evaluations: int, seed: int,
                   on_outcome: Any = None) -> SearchResult:  # fmt: skip
            return SearchResult(())

    with pytest.raises(AgentError, match=r"takes one argument, search\(self, task: SearchTask\)"):
        search(tmp_path / "r", agent=Old())
    assert not (tmp_path / "r").exists()


def test_a_failed_search_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(Agent):
        def search(self, task: SearchTask) -> SearchResult:
            raise AutocompError("no")

    with pytest.raises(AutocompError):
        search(tmp_path / "r", agent=Broken())
    assert not (tmp_path / "r").exists()


def test_an_agent_that_finds_nothing_is_named(tmp_path: Path) -> None:
    class Idle(Agent):
        def search(self, task: SearchTask) -> SearchResult:
            return SearchResult(())

    with pytest.raises(AutocompError, match="plan within budget"):
        search(tmp_path / "r", agent=Idle())


class Scaled(nn.Module):
    """Its shapes do not tell what it computes."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4))
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.body(x) * self.factor
        return logits


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_class_of_the_users_is_loaded_only_if_it_computes_the_same(
    factor: float, tiny_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, Scaled.__module__, sys.modules[__name__])
    result = autocomp.search(
        Scaled(factor), tiny_data, "size=50%", agent="random", evaluations=2, out=tmp_path / "r",
        space=SPACE, report="none",
    )  # fmt: skip
    file = tmp_path / "r" / "model.safetensors"
    images = tiny_data.example_inputs(4)
    if factor == 1.0:
        assert torch.allclose(autocomp.load(file)(images), result.model(images), atol=1e-5)
    else:
        with pytest.raises(AutocompError, match="how its network is built"):
            autocomp.load(file)
        assert torch.allclose(
            autocomp.load(file, model=Scaled(factor))(images), result.model(images), atol=1e-5
        )


def test_a_file_never_calls_a_function(finished: Result, tmp_path: Path) -> None:
    called = []
    packed = read(finished.run.path / "model.safetensors")
    sys.modules[__name__].wipe = lambda: called.append(1)  # type: ignore[attr-defined]
    for name in (f"{__name__}:wipe", "posix:getpid", "autocomp_powers"):
        source = {"name": name, "options": {}}
        (tmp_path / "f").write_bytes(pack(dataclasses.replace(packed, source=source)))
        with pytest.raises(AutocompError, match="--model"):
            autocomp.load(tmp_path / "f")
    assert not called


def test_tokens_and_other_float_types(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 50, (60, 7), generator=generator)
    labels = tokens.sum(1) % 3
    words = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(56, 3)).double()
    result = autocomp.search(
        words, [(tokens, labels)] * 3, "size=30%", agent="random", evaluations=2,
        out=tmp_path / "words", space=SPACE,
    )  # fmt: skip
    assert result.model(tokens[:4]).dtype == torch.float64
    images = torch.randn(40, 2, 5, 6, 6, generator=generator)
    solid = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Flatten(), nn.Linear(192, 3))
    autocomp.search(
        solid, [(images, labels[:40])] * 3, "size=30%", agent="random", evaluations=2,
        out=tmp_path / "solid", space=SPACE,
    )  # fmt: skip


def test_a_setting_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(AutocompError, match="named 'evaluatoins'. Did you mean 'evaluations'"):
        autocomp.search("digits", "digits", evaluatoins=3)


def test_weights_that_are_not_finite_are_refused(tiny_net: Any, tiny_data: Any) -> None:
    broken = copy.deepcopy(tiny_net)
    with torch.no_grad():
        next(broken.parameters())[0] = float("nan")
    with pytest.raises(ModelError, match="holds NaN"):
        autocomp.search(broken, tiny_data, "size=50%")


def test_a_test_split_of_another_shape_is_one_line(
    tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    def pair(split: Any) -> Any:
        return split.images, split.labels

    wrong = (torch.randn(9, 5, 8, 8), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(DataError, match="one shape"):
        autocomp.search(
            tiny_net, (pair(tiny_data.calibration), pair(tiny_data.search), wrong), "size=50%",
            out=tmp_path / "r",
        )  # fmt: skip
    assert not (tmp_path / "r").exists()


def test_an_agent_object_serves_two_searches(tmp_path: Path) -> None:
    agent = autocomp.agents.make_agent("tpe")
    for name in ("a", "b"):
        search(tmp_path / name, agent=agent, evaluations=2)
        assert (tmp_path / name / "agent.study.log").exists()
