"""One width for all layers, from Python and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autocomp
from autocomp.cli.main import main
from autocomp.errors import AutocompError


def test_every_layer_has_the_widths_and_the_file_is_the_network(tmp_path: Path) -> None:
    found = autocomp.quantize(
        "digits", "digits", weights=4, activations=8, out=tmp_path / "run", report="none",
        threads=1, progress=False,
    )  # fmt: skip
    widths = {name: str(choice) for name, choice in found.plan.items()}
    sums = {"conv1", "block1.conv2", "block2.conv2", "block2.shortcut.0", "block3.conv2"}
    assert widths == {name: "w4 a8 o8" if name in sums else "w4 a8" for name in widths}
    assert (
        found.summary.compressed["size"] == (tmp_path / "run" / "model.safetensors").stat().st_size
    )
    assert found.summary.compressed["size"] < 0.125 * found.summary.dense["size"]
    again = autocomp.load(tmp_path / "run")
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(again(images), found.model(images), atol=1e-5)


def test_layers_whose_inputs_cannot_be_rounded_keep_them(tmp_path: Path) -> None:
    """Token numbers go into an embedding as they are."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(30, 16), nn.Flatten(), nn.Linear(64, 5)).eval()
    tokens = torch.randint(0, 30, (90, 4))
    labels = torch.randint(0, 5, (90,))
    data = tuple((tokens[i : i + 30], labels[i : i + 30]) for i in (0, 30, 60))
    found = autocomp.quantize(
        network, data, out=tmp_path / "run", report="none", cache="none", progress=False
    )
    assert [str(choice) for choice in found.plan.values()] == ["w8", "w8 a8"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(
        ["quantize", "digits", "--data", "digits", "--weights", "8", "--activations", "32",
         "--keep", "conv1", "--report", "none", "--threads", "1", "--out", str(out)]
    ) == 0  # fmt: skip
    told = capsys.readouterr().out
    assert "found none better" not in told  # nothing was searched
    assert "block1.conv1" in told and "w8" in told and "a8" not in told
    assert autocomp.load(out) is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": 9}, "`weights` must be one of"),
        ({"activations": True}, "`activations` must be one of"),
        ({"weights": torch.tensor([8, 4])}, "`weights` must be one of"),
        ({"weights": 8.0}, "`weights` must be one of"),
        ({"agent": "tpe"}, "`agent` is fixed"),
        ({"space": "joint"}, "`space` is fixed"),
        ({"budget": "size=5%"}, "`budget` is fixed"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_it_refuses(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AutocompError, match=said) as caught:
        autocomp.quantize("digits", "digits", out=tmp_path / "run", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
