from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autocomp.errors import ModelError
from autocomp.models import build_model, load_weights


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def equal(first: nn.Module, second: nn.Module) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def saved(path: Path, thing: Any) -> Path:
    torch.save(thing, path)
    return path


@pytest.mark.parametrize("kind", ["plain", "state_dict", "model", "module.", "half", "safetensors"])
def test_every_way_to_store_weights(tmp_path: Path, kind: str) -> None:
    state = network(1).state_dict()
    file = tmp_path / "w.pt"
    if kind == "safetensors":
        file = tmp_path / "w.safetensors"
        save_file(state, file)
    elif kind in ("state_dict", "model"):
        saved(file, {kind: state, "epoch": 3})
    elif kind == "module.":
        saved(file, {"state_dict": {f"module.{name}": value for name, value in state.items()}})
    elif kind == "half":
        saved(file, {n: v.half() if v.is_floating_point() else v for n, v in state.items()})
    else:
        saved(file, state)
    model = network(0)
    load_weights(model, file)
    if kind == "half":
        assert torch.allclose(model[0].weight, state["0.weight"], atol=1e-3)  # type: ignore[index]
    else:
        assert equal(model, network(1))


def changed(name: str, value: Tensor | None) -> dict[str, Tensor]:
    state = dict(network(1).state_dict())
    state.pop(name, None)
    if value is not None:
        state[name] = value
    return state


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (changed("0.weight", None), "lacks '0.weight'. Build"),
        (changed("extra", torch.ones(1)), "has the unknown 'extra'"),
        ({"a": torch.ones(1)}, "lacks '0.weight', '0.bias', '1.weight' and 6 more and has.*'a'"),
        (changed("0.weight", torch.ones(4, 5)), r"'0.weight' has shape \(4, 5\).*\(4, 3\)"),
        (changed("2.bias", torch.tensor([1.0, torch.nan])), "finite, but '2.bias'"),
        (changed("2.bias", torch.tensor([1.0, -torch.inf])), "finite, but '2.bias'"),
        (changed("2.bias", torch.ones(2, dtype=torch.int8)), "'2.bias' is of type torch.int8"),
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3}, "'epoch' must be a tensor, but is a int"),
        (network(1), r"holds code \(torch.nn.modules.*refused. Save the state dict"),
        ({"state_dict": network(1).state_dict(), "args": argparse.Namespace()}, "code.*argparse"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, thing: Any, message: str) -> None:
    model = network(0)
    with pytest.raises(ModelError, match=message) as caught:
        load_weights(model, saved(tmp_path / "w.pt", thing))
    assert "\n" not in str(caught.value)
    assert equal(model, network(0))


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_code_is_never_run(tmp_path: Path) -> None:
    file = saved(tmp_path / "w.pt", {"0.weight": Evil(tmp_path / "code-ran")})
    with pytest.raises(ModelError, match="holds code .* is refused"):
        load_weights(network(), file)
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"\x00\xff" * 50, b"PK\x03\x04zip"])
def test_unreadable_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as weights") as caught:
        load_weights(network(), file)
    assert "\n" not in str(caught.value)


def test_missing_files_and_torchscript(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'nowhere.pt' does not exist"):
        load_weights(network(), "nowhere.pt")
    with pytest.raises(ModelError, match="does not exist"):
        load_weights(network(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match="cannot be read as weights"):
        load_weights(network(), tmp_path / "w.pt")


def test_through_build_model(tmp_path: Path) -> None:
    trained = build_model("mlp")
    nn.init.ones_(trained.layers[1].weight)  # type: ignore[index,union-attr,arg-type]
    file = saved(tmp_path / "w.pt", trained.state_dict())
    assert equal(build_model("mlp", file, require_weights=True), trained)
    assert equal(build_model(build_model("mlp"), file), trained)
