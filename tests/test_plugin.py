"""A third party's package: installed, found by entry point, searched with, held to contracts."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"
MODULES = ("powers", "climber", "traffic", "points")
FACES = {"autocomp", "autocomp.agents", "autocomp.costs", "autocomp.envs", "autocomp.search_spaces"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Installs a copy of examples/plugin into a folder of its own, which is put on the path."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(folder / "site"), str(folder / "source")],
        check=True, capture_output=True,
    )  # fmt: skip
    path = os.pathsep.join([str(folder / "site"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def cli(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autocomp", *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_each_is_at_most_25_lines(module: str) -> None:
    """Imports and docstrings included, blank lines not."""
    lines = (PLUGIN / "autocomp_powers" / f"{module}.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


@pytest.mark.parametrize("module", MODULES)
def test_it_imports_from_the_faces_alone(module: str) -> None:
    """And what it imports is in their `__all__`, so public."""
    tree = ast.parse((PLUGIN / "autocomp_powers" / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("autocomp"):
            assert node.module in FACES
            face = __import__(str(node.module), fromlist=["__all__"])
            assert {alias.name for alias in node.names} <= set(face.__all__)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("autocomp") for alias in node.names)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("spaces", "powers +Weights in 2, 4, 8 or 16 bits"),
        ("agents", "climber +Tries plans near the best"),
    ],
)
def test_they_are_listed(environment: dict[str, str], command: str, line: str) -> None:
    done = cli(environment, command)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{line}", done.stdout, re.MULTILINE)


SEARCHES = {
    "space, agent and cost": ["--agent", "climber", "--budget", "traffic=30%"],
    "space and reward": ["--agent", "ddpg:reward=points,width=16,clone_steps=20,pretrain_steps=20"],
    "space": ["--agent", "tpe"],
}
# as from the shell, in one process: most of a process's time goes into its imports and the network
PROGRAM = """
import json, sys
from autocomp.__main__ import main

for line in json.loads(sys.argv[1]):
    assert main(line) == 0, line
"""


def test_they_are_searched_with(environment: dict[str, str], tmp_path: Path) -> None:
    lines = [
        ["search", "--space", "powers", "--budget", "size=12%", *options, "-n", "4",
         "--out", str(tmp_path / name), "--report", "none"]
        for name, options in SEARCHES.items()
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, options in SEARCHES.items():
        assert (tmp_path / name / "model.safetensors").stat().st_size < 0.12 * 159_000
        text = (tmp_path / name / "outcomes.jsonl").read_text(encoding="utf-8")
        outcomes = [json.loads(line) for line in text.splitlines()]
        assert outcomes
        bits = {c["weight_bits"] for o in outcomes for c in o["plan"].values()}
        assert bits <= {2, 4, 8, 16}
        assert all(("traffic" in o["costs"]) == ("climber" in options) for o in outcomes)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_it_keeps_the_contracts(environment: dict[str, str], workers: str, tmp_path: Path) -> None:
    """With the suites of the installed package, in a process and a folder of their own."""
    shutil.copytree(PLUGIN / "tests", tmp_path / "tests")
    more = [] if workers == "0" else ["-n", workers, "-k", "Traffic or Points"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--import-mode=importlib",
         "-p", "no:cacheprovider", *more, "tests"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= (16 if more else 60)
    assert "skipped" not in done.stdout and "failed" not in done.stdout


def test_a_plugin_that_does_not_import_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    site = Path(environment["PYTHONPATH"].split(os.pathsep)[0])
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "autocomp_powers" / "__init__.py").write_text("1 / 0")
    broken = {**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    done = cli(broken, "search", "--space", "powers")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError" in done.stderr
