"""Optuna studies: trials are read as they were made, and the journal opens in a dashboard."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from autocomp.agents import make_agent
from autocomp.agents.samplers.optuna_agent import STUDY, OptunaAgent
from autocomp.agents.task import SearchTask
from autocomp.search_spaces import make_space
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages.journal import JournalFileBackend, JournalStorage

from autocomp.core.outcome import Outcome
from autocomp.inspection.study import LEAST, study_picture

SPACE = "bits:weight_bits=2/3/4/6/8"


def study(folder: Path, toy: Any, n: int, agent: str = "tpe") -> tuple[Outcome, ...]:
    made = make_agent(agent, storage=str(folder / STUDY))
    assert isinstance(made, OptunaAgent)
    return made.search(SearchTask.of(toy, make_space(SPACE), n, 0)).outcomes


@pytest.fixture(scope="module")
def finished(
    make_separable: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[Outcome, ...]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, study(folder, make_separable("size=15%"), 40)


def test_a_study_is_read_as_it_was_made(finished: tuple[Path, tuple[Outcome, ...]]) -> None:
    folder, outcomes = finished
    found = study_picture(folder / STUDY, "TPE")
    assert found.sampler == "TPE"
    assert found.trials >= len(outcomes) > 10  # a plan may be made by several vectors
    assert {p.name for p in found.parameters} == {f"l{t}[0]" for t in range(4)}
    scores = {round(o.merit - 1e-4 * o.loss, 9) for o in outcomes}
    for p in found.parameters:
        assert len(p.values) == len(p.scores) == found.trials
        assert all(-1 <= value <= 1 for value in p.values)
        assert {round(score, 9) for score in p.scores} == scores


def test_importances_are_shares_and_find_what_matters(tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / STUDY)))
    made = optuna.create_study(
        study_name="autocomp", storage=storage, direction="maximize", sampler=RandomSampler(0)
    )
    for _ in range(60):
        trial = made.ask({name: FloatDistribution(-1, 1) for name in ("idle", "decides")})
        made.tell(trial, -((trial.params["decides"] - 0.3) ** 2))
    made.ask()  # one that was stopped
    found = study_picture(tmp_path / STUDY, "Random")
    assert found.trials == 60
    assert [p.name for p in found.parameters] == ["decides", "idle"]
    first, second = found.parameters
    assert first.importance + second.importance == pytest.approx(1)
    assert first.importance > 0.8
    assert first.scores == pytest.approx([-((x - 0.3) ** 2) for x in first.values])


def test_few_trials_have_no_importances(make_separable: Any, tmp_path: Path) -> None:
    outcomes = study(tmp_path, make_separable("size=12%"), LEAST - 2)
    found = study_picture(tmp_path / STUDY, "TPE")
    assert len(outcomes) <= found.trials < LEAST
    assert [p.importance for p in found.parameters] == [0.0] * 4
    assert [p.name for p in found.parameters] == [f"l{t}[0]" for t in range(4)]


def test_a_study_without_trials_has_no_parameters(tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / STUDY)))
    made = optuna.create_study(study_name="autocomp", storage=storage, direction="maximize")
    made.ask()  # a trial that was stopped
    found = study_picture(tmp_path / STUDY, "TPE")
    assert (found.trials, found.parameters) == (0, ())


def test_a_journal_without_the_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.log").touch()
    with pytest.raises(KeyError):
        study_picture(tmp_path / "other.log", "TPE")


def test_the_dashboard_opens_a_runs_study(finished: tuple[Path, tuple[Outcome, ...]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        dashboard = pytest.importorskip("optuna_dashboard")
    storage = JournalStorage(JournalFileBackend(str(finished[0] / STUDY)))
    app = dashboard.wsgi(storage)

    def get(path: str) -> tuple[str, Any]:
        said: list[str] = []
        from wsgiref.util import setup_testing_defaults

        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
        setup_testing_defaults(environ)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = b"".join(app(environ, lambda status, headers, *_: said.append(status)))
        return said[0], json.loads(body)

    status, values = get("/api/studies")
    assert status.startswith("200")
    (listed,) = values["study_summaries"]
    assert listed["study_name"] == "autocomp"
    status, values = get(f"/api/studies/{listed['study_id']}")
    assert status.startswith("200")
    assert len(values["trials"]) >= len(finished[1])
    assert {p["name"] for p in values["trials"][-1]["params"]} == {f"l{t}[0]" for t in range(4)}
