"""Options are bounded where they are given, in one line, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.agents import make_agent
from autocomp.search_spaces import make_space
from torch.utils.data import DataLoader, IterableDataset

import autocomp
from autocomp.cli.main import main
from autocomp.compression.weights import AdaRoundQuantizer, GPTQQuantizer
from autocomp.data.adapt import Held, as_split
from autocomp.errors import AutocompError, DataError
from autocomp.runs.settings import SearchConfig

SPACES = [
    "joint:levels=1000000000", "joint:levels=1", "joint:levels=-3", "joint:levels=2.5",
    "joint:discrete=maybe", "joint:discrete=1", "bits:discrete=no", "sparsity:levels=1001",
    "structured:levels=5000", "full:channel_levels=99999", "coefficients:levels=99999999",
    "structured:ranks=-1", "rank:ranks=1000000", "coefficients:span=-1", "coefficients:span=1e9",
    "joint:highest=nan",
]  # fmt: skip
AGENTS = [
    "cmaes:sigma=-1", "cmaes:sigma=0", "cmaes:sigma=inf", "nsga2:population=0",
    "nsga2:population=100000", "tpe:starts=0", "tpe:startup=-1", "ddpg:width=0",
    "ddpg:width=100000", "ddpg:share=2", "ddpg:decay=-1", "ddpg:sigma=nan", "sac:updates=-1",
    "td3:learning_rate=-0.1", "ddpg:clone_steps=-1", "ppo:episodes=0", "ppo:sigma=-1",
    "local:sigma=-1", "local:share=7", "greedy:starts=0", "ddpg:imitation=-4",
]  # fmt: skip
SETTINGS: list[dict[str, Any]] = [
    {"seed": 2**32}, {"seed": -1}, {"threads": 10000}, {"threads": -1}, {"evaluations": 0},
    {"evaluations": 10**12}, {"batch_size": 1}, {"batch_size": 10**9}, {"search_images": 0},
    {"round_to": 0}, {"round_to": 10**9}, {"finalists": -1}, {"seed": True},
]  # fmt: skip


def one_line(error: BaseException) -> None:
    assert "\n" not in str(error) and len(str(error)) < 400


@pytest.mark.parametrize("text", SPACES)
def test_spaces(text: str) -> None:
    with pytest.raises(AutocompError, match=r"must (hold|be)|`") as caught:
        make_space(text)
    one_line(caught.value)


@pytest.mark.parametrize("text", AGENTS)
def test_agents(text: str) -> None:
    with pytest.raises(AutocompError, match="must hold") as caught:
        make_agent(text)
    one_line(caught.value)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(AutocompError, match="must hold|must be") as caught:
        SearchConfig(**settings)
    one_line(caught.value)


def test_compressors() -> None:
    for make in (
        lambda: GPTQQuantizer(-1),
        lambda: AdaRoundQuantizer(0),
        lambda: GPTQQuantizer(10**6),
    ):
        with pytest.raises(AutocompError, match="must hold"):
            make()


@pytest.mark.parametrize("text", ["", " ", "~nosuchuser/x", "a" * 5000, "a\0b"])
@pytest.mark.parametrize("option", ["out", "cache", "weights"])
def test_paths(text: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not text and option != "out":
        return  # the default
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AutocompError, match=f"`{option}` must") as caught:
        autocomp.search("digits", "digits", evaluations=1, **{"report": "none", option: text})
    one_line(caught.value)
    assert not list(tmp_path.iterdir())


def test_home_is_put_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    autocomp.search(
        "digits", "digits", agent="dp", space="bits", evaluations=1, report="none", out="~/run",
        cache="~/cache", progress=False,
    )  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "home").iterdir()) == ["cache", "run"]
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield torch.randn(3), torch.tensor(0)


@pytest.mark.parametrize("limit", ["most_samples", "most_bytes"])
def test_an_endless_loader_ends(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, limit, 5000)
    with pytest.raises(DataError, match=r"may have .* gives more") as caught:
        _ = as_split(DataLoader(Endless(), batch_size=8), "mine").images
    assert "5000" in str(caught.value)
    one_line(caught.value)


@pytest.mark.parametrize(
    "words",
    [["--seed", "4294967296"], ["--threads", "10000"], ["--space", "joint:levels=1000000000"],
     ["--out", ""], ["--agent", "nsga2:population=0"], ["--space", "joint:discrete=maybe"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_left_behind(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["search", "-n", "2", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
