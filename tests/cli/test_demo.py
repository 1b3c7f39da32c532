"""The demo, whole: its accuracy at its budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autocomp.cli.main import main


@pytest.mark.slow
def test_the_demo_loses_at_most_a_point(tmp_path: Path) -> None:
    arguments = ["--budget", "size=10%", "--agent", "ddpg", "--evaluations", "100"]
    assert main(["search", "--out", str(tmp_path / "r"), *arguments]) == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["test"]["accuracy"] >= summary["test_dense"]["accuracy"] - 0.01
    assert (tmp_path / "r" / "model.safetensors").stat().st_size <= 0.1 * summary["dense"]["size"]
