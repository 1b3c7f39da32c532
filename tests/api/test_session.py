"""A search in its folder: what it leaves at the end, when it is stopped, and for its report."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.agents import make_agent
from autocomp.agents.reinforcement.checkpoints import LOOKS
from autocomp.agents.task import SearchTask
from autocomp.search_spaces import make_space

import autocomp
import autocomp.api.session as module
from autocomp.api.report import report
from autocomp.core.outcome import Outcome
from autocomp.errors import RunError, UnknownNameError
from autocomp.inspection.findings import FILE, Findings
from autocomp.inspection.record import RunRecord
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.reports.files import REPORT
from autocomp.runs.folder import Run

SPACE = "joint:levels=5,weight_bits=2/4/8"
PPO = "ppo:width=16,clone_steps=20"
DDPG = "ddpg:width=16,clone_steps=20,pretrain_steps=20,updates=2"
Search = Callable[..., Any]


@pytest.fixture
def search(tiny_net: Any, tiny_data: Any, tmp_path: Path) -> Search:
    def run(**more: Any) -> Any:
        settings: dict[str, Any] = {
            "budget": "size=12%", "agent": "random", "space": SPACE, "evaluations": 5,
            "out": tmp_path / "r", "search_images": 40, "report": "none",
        }  # fmt: skip
        return autocomp.search(tiny_net, tiny_data, **{**settings, **more})

    return run


def stop_at(n: int) -> Callable[[Outcome], None]:
    seen: list[Outcome] = []

    def stop(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == n:
            raise KeyboardInterrupt

    return stop


def stopped(search: Search, folder: Path, n: int = 3, **more: Any) -> Run:
    with pytest.raises(KeyboardInterrupt):
        search(on_outcome=stop_at(n), **more)
    return Run.open(folder / "r")


# ---- at the end


@pytest.mark.parametrize(
    ("kind", "left"), [("none", set()), ("plain", {REPORT}), ("full", {REPORT, FILE})]
)
def test_a_search_ends_with_the_report_that_is_asked_for(
    kind: str, left: set[str], search: Search
) -> None:
    found = search(report=kind)
    names = {file.name for file in found.run.path.iterdir()}
    assert names & {REPORT, FILE} == left
    assert names >= {"summary.json", "model.safetensors", "plan.json"}
    if kind == "full":
        findings = Findings.read(found.run.path)
        assert findings is not None
        assert (findings.plan, findings.fidelity) == (found.plan.key, found.best.fidelity)
    if kind != "none":
        assert (found.run.path / REPORT).read_text().startswith("<!")


def test_a_report_changes_no_result(search: Search, tmp_path: Path) -> None:
    found = [search(report=kind, out=tmp_path / kind, agent=PPO) for kind in ("none", "full")]
    assert found[0].plan == found[1].plan
    assert [o.plan for o in found[0].outcomes] == [o.plan for o in found[1].outcomes]
    test = [result.summary.test for result in found]
    assert test[0] == test[1]


# ---- stopped


@pytest.mark.parametrize(("kind", "written"), [("full", True), ("plain", True), ("none", False)])
def test_an_interrupt_leaves_outcomes_and_their_report(
    kind: str, written: bool, search: Search, tmp_path: Path
) -> None:
    run = stopped(search, tmp_path, 3, report=kind)
    assert len(run.outcomes()) == 3
    assert run.summary() is None
    assert (run.path / REPORT).exists() == written
    assert not (run.path / FILE).exists() and not (run.path / ".lock").exists()
    assert (run.path / "plan.json").exists()


def test_a_stopped_search_goes_on_where_it_was(
    search: Search, tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    whole = search(out=tmp_path / "whole")
    run = stopped(search, tmp_path, 3, report="full")
    seen: list[Outcome] = []
    again = autocomp.resume(run.path, model=tiny_net, data=tiny_data, on_outcome=seen.append)
    assert [o.plan for o in again.outcomes] == [o.plan for o in whole.outcomes]
    assert seen[0].plan == again.outcomes[0].plan  # the recorded ones too
    assert "stopped early" not in " ".join(RunRecord.read(run.path).notes)
    assert (run.path / FILE).exists()


def test_a_stopped_policy_goes_on_where_it_was(
    search: Search, tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    agent = f"{PPO},episodes=1"
    whole = search(out=tmp_path / "whole", agent=agent, evaluations=8, tensorboard=True).run
    run = stopped(search, tmp_path, 6, agent=agent, evaluations=8)
    assert (run.path / LOOKS).read_text() != (whole.path / LOOKS).read_text()
    autocomp.resume(run.path, model=tiny_net, data=tiny_data)
    assert (run.path / LOOKS).read_bytes() == (whole.path / LOOKS).read_bytes()


def test_an_error_writes_no_report(search: Search, tmp_path: Path) -> None:
    def fail(_: Outcome) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(on_outcome=fail, report="full")
    assert len(Run.open(tmp_path / "r").outcomes()) == 1  # it was recorded before it was told
    assert not (tmp_path / "r" / REPORT).exists()


def test_a_stopped_run_is_reported_on(
    search: Search, tiny_net: Any, tiny_data: Any, tmp_path: Path
) -> None:
    """Its best plan was screened only; its predictions are of the whole split all the same."""
    run = stopped(search, tmp_path, 4)
    path = report(run.path, model=tiny_net, data=tiny_data)
    assert path == run.path / REPORT and path.exists()
    found = Findings.read(run.path)
    assert found is not None and found.fidelity == "F1"
    assert set(found.left_out) <= {"ablations"}
    assert found.predictions is not None and found.predictions.n == len(tiny_data.search)
    assert len(run.outcomes()) == 4  # nothing is added to the search


def test_a_report_that_is_made_again_is_the_same(
    search: Search, tiny_net: Any, tiny_data: Any
) -> None:
    run = search(agent=PPO).run
    texts = []
    for _ in range(2):
        report(run.path, model=tiny_net, data=tiny_data)
        texts.append((run.path / FILE).read_text())
    assert texts[0] == texts[1]
    json.loads(texts[0], parse_constant=pytest.fail)  # no NaN, no Infinity


# ---- baselines


def test_baselines_have_the_searchs_count_and_seed(
    search: Search, tiny_net: Any, tiny_data: Any
) -> None:
    run = search(evaluations=4, seed=3).run
    before = run.outcomes()
    report(run.path, baselines=("random", "uniform"), model=tiny_net, data=tiny_data)
    found = run.baselines()
    assert set(found) == {"random", "uniform"}
    problem = CompressionProblem(tiny_net, tiny_data, "size=12%", ProblemSettings(search_images=40))
    for name, outcomes in found.items():
        alone = make_agent(name).search(SearchTask.of(problem, make_space(SPACE), 4, 3))
        assert [o.plan for o in outcomes] == [o.plan for o in alone.outcomes]
        assert [o.accuracy for o in outcomes] == [o.accuracy for o in alone.outcomes]
    assert run.outcomes() == before
    assert RunRecord.read(run.path).baselines == found


def test_baselines_are_run_once(
    search: Search, tiny_net: Any, tiny_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = search(evaluations=3).run
    made: list[str] = []

    def note(name: str) -> Any:
        made.append(name)
        return make_agent(name)

    monkeypatch.setattr(module, "make_agent", note)
    given = {"model": tiny_net, "data": tiny_data}
    report(run.path, baselines=("random", "tpe:starts=2", "random"), **given)
    assert made == ["random", "tpe:starts=2"]
    report(run.path, baselines=("uniform", "tpe:starts=2", "random"), **given)
    assert made == ["random", "tpe:starts=2", "uniform"]
    report(run.path, **given)
    assert len(made) == len(run.baselines()) == 3


def test_an_unknown_baseline_is_named(search: Search, tiny_net: Any, tiny_data: Any) -> None:
    run = search(evaluations=2).run
    with pytest.raises(UnknownNameError, match="Did you mean 'random'"):
        report(run.path, baselines=("randon",), model=tiny_net, data=tiny_data)
    assert run.baselines() == {} and not (run.path / REPORT).exists()


# ---- what a report needs


def test_objects_are_given_again(search: Search, tiny_net: Any, tiny_data: Any) -> None:
    run = search(evaluations=2).run
    with pytest.raises(RunError, match=r"model given as a Python object.*autocomp\.report") as e:
        report(run.path)
    assert "\n" not in str(e.value)
    with pytest.raises(RunError, match="its data given as a Python object"):
        report(run.path, model=tiny_net)
    other = copy.deepcopy(tiny_net)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(RunError, match="its own network"):
        report(run.path, model=other, data=tiny_data)
    assert not (run.path / REPORT).exists()


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="readable config.json"):
        report(tmp_path / "nowhere")


def test_a_learned_policy_and_a_study_are_in_the_findings(search: Search, tmp_path: Path) -> None:
    for agent, part in ((PPO, "policy"), (DDPG, "policy"), ("tpe", "study")):
        run = search(agent=agent, report="full", out=tmp_path / agent[:4]).run
        found = Findings.read(run.path)
        assert found is not None
        assert getattr(found, part) is not None
        assert part not in found.left_out
