"""Loading a compressed file: the architecture it needs, and what does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from autocomp.artifacts.container import pack, unpack
from autocomp.compression.loading import load
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.errors import ArtifactError
from autocomp.models import build_architecture, build_model
from autocomp.models.builder import ModelSource
from autocomp.problem.problem import CompressionProblem


@pytest.fixture(scope="module")
def written(digits_model: Any, digits_data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(file, network as evaluated) of a plan with activation bits."""
    problem = CompressionProblem(digits_model, digits_data, "size=50%")
    choice = Choice.of(sparsity=0.3, weight_bits=4, activation_bits=8)
    plan = Plan(dict.fromkeys(problem.network.names, choice))
    network, data = problem.compressed(plan)
    file = tmp_path_factory.mktemp("file") / "model.safetensors"
    file.write_bytes(data)
    return file, network


def test_logits_are_the_evaluated_ones(written: Any, digits_data: Any) -> None:
    file, network = written
    images = digits_data.example_inputs(32)
    with torch.inference_mode():
        assert torch.equal(load(file)(images), network(images))


@pytest.mark.parametrize("form", ["name", "network", "function"])
def test_the_architecture_can_be_given(written: Any, form: str, digits_data: Any) -> None:
    file, network = written
    given: Any = {
        "name": "digits",
        "network": build_architecture(ModelSource("digits")),
        "function": lambda: build_architecture(ModelSource("digits")),
    }[form]
    images = digits_data.example_inputs(8)
    assert torch.equal(load(file, given)(images), network(images))


def test_a_network_that_is_given_is_not_written_to(written: Any) -> None:
    given = build_architecture(ModelSource("digits"))
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    load(written[0], given)
    assert all(torch.equal(before[name], t) for name, t in given.state_dict().items())
    assert not any(module._forward_pre_hooks for module in given.modules())


def test_another_architecture_is_refused(written: Any) -> None:
    with pytest.raises(ArtifactError, match="missing in the file"):
        load(written[0], build_model("mlp"))


def test_another_shape_is_refused(written: Any) -> None:
    other = build_architecture(ModelSource("digits", {"num_classes": 7}))
    with pytest.raises(ArtifactError, match=r"must have the network's shape \(7, 32\)"):
        load(written[0], other)


def test_numbers_that_are_not_finite_are_refused(written: Any, tmp_path: Path) -> None:
    packed = unpack(written[0].read_bytes())
    name = "linear.bias"
    side = {**packed.side, name: torch.full_like(packed.side[name], torch.nan)}
    (tmp_path / "f").write_bytes(pack(dataclasses.replace(packed, side=side)))
    with pytest.raises(ArtifactError, match="finite"):
        load(tmp_path / "f")


def test_an_unknown_module_is_refused(written: Any, tmp_path: Path) -> None:
    packed = unpack(written[0].read_bytes())
    layers = tuple(dataclasses.replace(layer, host="nowhere") for layer in packed.layers)
    (tmp_path / "f").write_bytes(pack(dataclasses.replace(packed, layers=layers)))
    with pytest.raises(ArtifactError, match="nowhere"):
        load(tmp_path / "f")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.here.*No such file"):
        load(tmp_path / "nothing.here")
