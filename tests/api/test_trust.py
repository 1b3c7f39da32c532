"""A run folder from somebody else: its text imports nothing and writes nowhere else."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import autocomp
from autocomp.cli.main import main
from autocomp.errors import RunError
from autocomp.runs.settings import SearchConfig
from autocomp.runs.trust import code_named, confined

EVIL = """
from pathlib import Path
Path("RAN").write_text("imported")

def model():
    import autocomp.models
    return autocomp.models.build_model("digits")

def data():
    return __import__("autocomp.data").data.load_data("digits")

def reward(step):
    return 0.0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "r"
    autocomp.search(
        "digits", "digits", "size=12%", agent="tpe", space="bits", evaluations=4, report="none",
        out=folder, seed=1,
    )  # fmt: skip
    return folder


@pytest.fixture
def sent(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, not complete, beside a module that leaves a trace."""
    folder = tmp_path / "sent"
    shutil.copytree(run, folder)
    (folder / "summary.json").unlink()
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    return folder


def change(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    values = json.loads(file.read_text())
    values["settings"].update(settings)
    file.write_text(json.dumps(values))


NAMED = [
    {"model": "evil_module:model"},
    {"data": "evil_module:data"},
    {"agent": "ddpg:reward=evil_module:reward"},
    {"data": "torchvision-cifar10:/nowhere"},
    {"data": "datasets:somebody/something"},
]


@pytest.mark.parametrize("settings", NAMED, ids=str)
@pytest.mark.parametrize("command", ["resume", "report", "export"])
def test_code_is_not_run(
    sent: Path, settings: dict[str, str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(sent, **settings)
    call: Any = getattr(autocomp, command)
    if command != "export" or "agent" not in settings:
        with pytest.raises(RunError, match=r"--trust-run\)") as caught:
            call(sent)
        assert "\n" not in str(caught.value) and next(iter(settings.values())) in str(caught.value)
        assert main([command, str(sent)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path("RAN").exists() and "evil_module" not in sys.modules


def test_what_is_named_again_is_run(sent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(sent, model="evil_module:model")
    assert main(["resume", str(sent), "--model", "evil_module:model"]) == 0
    assert Path("RAN").exists()
    assert "Trusted" not in capsys.readouterr().out


def test_a_trusted_run_tells_first_what_it_names(
    sent: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(sent, data="evil_module:data")

    def seen(*given: Any, **named: Any) -> None:
        assert "Trusted: data evil_module:data" in capsys.readouterr().out
        assert not Path("RAN").exists() and named["trust"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("autocomp.api.resume.resume", seen)
        assert main(["resume", str(sent), "--trust-run"]) == 130
    assert main(["resume", str(sent), "--trust-run"]) == 0
    assert Path("RAN").exists()


def test_a_file_outside_is_never_touched(sent: Path, tmp_path: Path) -> None:
    precious, cache = tmp_path / "precious", tmp_path / "cache"
    precious.write_text("kept")
    change(sent, agent=f"tpe:storage={precious}", cache=str(cache))
    (sent / "outcomes.jsonl").write_text("")
    autocomp.resume(sent, progress=False)
    assert precious.read_text() == "kept" and not cache.exists()
    fresh = tmp_path / "fresh"
    change(sent, agent=f"tpe:storage={fresh}")
    (sent / "summary.json").unlink()
    autocomp.resume(sent, progress=False)
    assert not fresh.exists()
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("name", ["outcomes.jsonl", ".lock", "study.log", "tensorboard"])
def test_a_link_in_a_run_folder_is_not_followed(sent: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_text("")
    (sent / name).unlink(missing_ok=True)
    (sent / name).symlink_to(target)
    with pytest.raises(RunError, match="must hold files of its own"):
        autocomp.resume(sent, progress=False)
    autocomp.report(sent)
    assert target.read_text() == ""


def test_what_counts_as_code() -> None:
    for settings in NAMED:
        assert set(code_named(SearchConfig(**settings))) == set(settings)  # type: ignore[arg-type]
    plain = SearchConfig(model="digits", data="cifar10:/a:b/c", agent="ddpg:reward=dense")
    assert code_named(plain) == {}
    given = SearchConfig(agent="tpe:startup=3,storage=a,starts=2", cache="/tmp/x")
    assert confined(given).agent == "tpe:startup=3,starts=2" and confined(given).cache == ""
    assert confined(SearchConfig(agent="tpe:storage=a", cache="none")).agent == "tpe"
    assert confined(SearchConfig(cache="none")).cache == "none"
    assert confined(plain) == plain
