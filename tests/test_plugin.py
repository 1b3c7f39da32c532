"""A third party's package: installed, found by entry point, searched with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Installs a copy of examples/plugin into a folder of its own, which is put on the path."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "examples" / "plugin", folder / "source")
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


def test_it_is_thirty_lines() -> None:
    lines = (ROOT / "examples" / "plugin" / "autocomp_powers.py").read_text().splitlines()
    assert len(lines) <= 30


def test_it_is_listed(environment: dict[str, str]) -> None:
    done = cli(environment, "spaces")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^powers +Weights in 2, 4, 8 or 16 bits", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("agent", ["ddpg", "tpe"])
def test_it_is_searched(environment: dict[str, str], agent: str, tmp_path: Path) -> None:
    done = cli(
        environment, "search", "--space", "powers", "--agent", agent, "--budget", "size=12%",
        "-n", "4", "--out", str(tmp_path / "r"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r" / "model.safetensors").stat().st_size < 0.12 * 159_000


def test_a_plugin_that_does_not_import_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    site = Path(environment["PYTHONPATH"].split(os.pathsep)[0])
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "autocomp_powers.py").write_text("1 / 0")
    broken = {**environment, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    done = cli(broken, "search", "--space", "powers")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError" in done.stderr
