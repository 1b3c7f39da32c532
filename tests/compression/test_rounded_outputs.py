"""Rounded outputs: calibrated, written, stored, loaded, searched again and trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.search_spaces.bits import BitsSpace
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import relu

from autocomp.api.result import Result
from autocomp.api.search import search
from autocomp.artifacts.container import pack, unpack
from autocomp.compression.calibration.statistics import calibrate
from autocomp.compression.loading import load
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.output_site import OutputSite
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.errors import ChoiceError
from autocomp.network.analysis import analyse
from autocomp.network.quantizers import output_quantizer_of
from autocomp.problem.problem import CompressionProblem
from autocomp.testing.layers import layer_spec
from autocomp.training.trainable import freeze, trainable

ROUNDED = Choice.of(weight_bits=8, activation_bits=8, output_bits=6)


class Residual(nn.Module):
    """A stem, one sum, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.block, self.head = nn.Identity(), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = relu(self.norm(self.stem(x)))
        return self.head(self.block(relu(x + self.norm2(self.conv(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net(images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    made = Residual().train()
    with torch.no_grad():
        for _ in range(20):
            made(images)
    return made.eval()


@pytest.fixture(scope="module")
def data(images: Tensor) -> DataSplits:
    labels = torch.arange(96) % 10
    return load_data(tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))


@pytest.fixture(scope="module")
def problem(net: nn.Module, data: DataSplits) -> CompressionProblem:
    return CompressionProblem(net, data, "size=100%")


def plan_of(problem: CompressionProblem, choice: Choice = ROUNDED) -> Plan:
    return Plan({x.name: choice for x in problem.network.layers})


def passed(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Returns what the modules of sites return."""
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda module, given, output, name=name: found.update({name: output})
        )
        for name in ("norm", "norm2", "block")
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return found


def test_statistics_are_those_of_what_is_read(net: nn.Module, images: Tensor) -> None:
    network = analyse(net, images[:2])
    stats = calibrate(net, network, [images[:40], images[40:50]])
    values = passed(net, images[:50])
    stem, conv = stats["stem"].outputs["norm"], stats["conv"].outputs
    assert stem.minimum == 0.0 and stem.maximum == pytest.approx(float(values["norm"].max()))
    assert float(stem.values.min()) == 0.0  # behind the ReLU
    assert conv["norm2"].minimum == pytest.approx(float(values["norm2"].min()))
    assert set(conv) == {"norm2", "block"} and not stats["head"].outputs


def test_a_sum_has_the_range_that_the_next_layer_would_have(problem: CompressionProblem) -> None:
    """The same tensor, sampled in the same way: what the runtime sees is one quantizer."""
    layers = {x.name: x for x in problem.network.layers}
    (stem,) = problem.store.outputs(layers["stem"], 8)
    assert stem.quantizer == problem.store.activation(layers["conv"], 8)


def test_outputs_are_on_the_grid_in_the_network_and_in_its_file(
    problem: CompressionProblem, net: nn.Module, images: Tensor
) -> None:
    network, file = problem.compressed(plan_of(problem))
    loaded = load_bytes(file, net)
    with torch.no_grad():
        assert torch.equal(network(images), loaded(images))
    for name, values in passed(loaded, images).items():
        rounds = output_quantizer_of(loaded.get_submodule(name))
        assert rounds is not None and rounds.quantizer.bits == 6
        assert len(torch.unique(values)) <= 64
        assert torch.equal(rounds.quantizer.quantize(values), values)
    assert output_quantizer_of(loaded.head) is None


def load_bytes(file: bytes, net: nn.Module) -> nn.Module:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(file)
        return load(path, net)


def test_a_file_is_the_same_after_reading_and_writing(problem: CompressionProblem) -> None:
    _, file = problem.compressed(plan_of(problem))
    read = unpack(file)
    assert read.plan["conv"] == ROUNDED
    assert [x.module for x in read.outputs["conv"]] == ["norm2", "block"]
    assert read.outputs["head"] == ()  # asked for, and there are none
    assert pack(read) == file


def test_sizes_are_never_below_the_file(problem: CompressionProblem) -> None:
    for output_bits in (32, 8, 4):
        plan = plan_of(problem, ROUNDED.replace(output_bits=output_bits))
        cost = problem.costs["size"]
        layers = sum(cost.of_layer(x, plan[x.name]) for x in problem.network.layers)
        _, file = problem.compressed(plan)
        assert 0 <= layers + cost.fixed(plan.side_bits) - len(file) < 40


def test_a_plan_leaves_nothing_of_the_one_before(problem: CompressionProblem) -> None:
    plain = plan_of(problem, ROUNDED.replace(output_bits=32))
    first = problem.evaluate(plain)
    rounded = problem.evaluate(plan_of(problem))
    assert rounded.gap != first.gap
    again = problem.evaluate(plain)
    assert (again.gap, again.quality) == (first.gap, first.quality)


def test_fewer_bits_of_outputs_are_a_larger_error(problem: CompressionProblem) -> None:
    conv = problem.network.layer("conv")
    errors = [
        problem.store.error(conv, ROUNDED.replace(output_bits=bits)) for bits in (2, 4, 8, 32)
    ]
    assert errors == sorted(errors, reverse=True) and errors[2] > errors[3]


@pytest.fixture(scope="module")
def first(net: nn.Module, data: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A search that rounds everything to 8 bits."""
    return search(
        net, data, out=tmp_path_factory.mktemp("first") / "run", budget="size=100%", agent="dp",
        evaluations=1, space="bits:weight_bits=8,activation_bits=8", report="none",
    )  # fmt: skip


def test_a_second_search_keeps_them(
    first: Result, net: nn.Module, data: DataSplits, images: Tensor, tmp_path: Path
) -> None:
    assert output_quantizer_of(first.model.block).quantizer.bits == 8  # type: ignore[union-attr]
    second = search(
        first.model, data, out=tmp_path / "2", budget="size=99%", agent="dp", evaluations=1,
        space="bits:weight_bits=6", report="none",
    )  # fmt: skip
    again = load(tmp_path / "2", net)
    for name in ("norm", "norm2", "block"):
        before = output_quantizer_of(first.model.get_submodule(name))
        assert before is not None
        assert output_quantizer_of(again.get_submodule(name)) == before
    with torch.no_grad():
        assert torch.equal(again(images), second.model(images))


def test_layers_that_a_second_search_leaves_alone_keep_them(
    first: Result, net: nn.Module, data: DataSplits, images: Tensor, tmp_path: Path
) -> None:
    second = search(
        first.model, data, out=tmp_path / "2", budget="size=99%", agent="dp", evaluations=1,
        space="bits:weight_bits=6", keep=("conv",), report="none",
    )  # fmt: skip
    again = load(tmp_path / "2", net)
    with torch.no_grad():
        assert torch.equal(again(images), second.model(images))
    assert output_quantizer_of(again.block) == output_quantizer_of(first.model.block)
    assert (tmp_path / "2" / "model.safetensors").stat().st_size == second.summary.compressed[
        "size"
    ]


def test_ranges_are_trained_and_kept(
    problem: CompressionProblem, net: nn.Module, images: Tensor
) -> None:
    network, file = problem.compressed(plan_of(problem))
    loaded = trainable(load_bytes(file, net))
    steps = [p for name, p in loaded.named_parameters() if "learned_output_range" in name]
    assert len(steps) == 3
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (loaded(images) ** 2).mean().backward()
        assert all(step.grad is not None and float(step.grad) != 0 for step in steps)
        assert float(loaded.stem.parametrizations.weight.original.grad.abs().max()) > 0
        optimizer.step()
    loaded.eval()
    with torch.no_grad():
        wanted = loaded(images)
    frozen = freeze(loaded)
    assert not any("learned" in name for name, _ in frozen.named_modules())
    assert len(output_quantizer_of(frozen.block).module) > 0  # type: ignore[union-attr]
    with torch.no_grad():
        assert torch.allclose(frozen(images), wanted, atol=1e-5)
    before = output_quantizer_of(network.norm)
    assert output_quantizer_of(frozen.norm) != before


def test_a_file_that_names_a_module_that_is_not_there_is_refused(
    problem: CompressionProblem, net: nn.Module
) -> None:
    from dataclasses import replace

    from autocomp.errors import ArtifactError

    _, file = problem.compressed(plan_of(problem))
    packed = unpack(file)
    odd = replace(packed.outputs["conv"][0], module="no.such")
    with pytest.raises(ArtifactError, match="no module 'no.such'"):
        load_bytes(pack(replace(packed, outputs={**packed.outputs, "conv": (odd,)})), net)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_of_a_module_is_kept(module: str, host: str) -> None:
    from autocomp.artifacts.records import _name

    same, length, *rest = _name(module, host)
    assert host[:same] + bytes(rest).decode() == module and length == len(rest)


def test_names_that_no_file_holds_are_refused() -> None:
    from autocomp.artifacts.records import _name
    from autocomp.errors import ArtifactError

    with pytest.raises(ArtifactError, match="must fit into a file.*output_bits"):
        _name("x" * 300, "y")


def test_choices() -> None:
    assert str(ROUNDED) == "w8 a8 o6" and Choice.from_json(ROUNDED.to_json()) == ROUNDED
    # a layer whose inputs are floats gives floats
    assert Choice.of(weight_bits=8, output_bits=8) == Choice.of(weight_bits=8)
    with pytest.raises(ChoiceError, match="`output_bits` must be one of"):
        Choice.of(activation_bits=8, output_bits=9)


def with_site() -> LayerSpec:
    return layer_spec("a", (4, 4, 3, 3), output_sites=(OutputSite("norm"),))


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({"activation_bits": 8}, {8}),
        ({"activation_bits": (8, 32)}, {8, 32}),
        ({"activation_bits": 8, "output_bits": 32}, {32}),
        ({"activation_bits": 4, "output_bits": (4, 8)}, {4, 8}),
        ({}, {32}),
    ],
)
def test_spaces(options: dict[str, Any], bits: set[int]) -> None:
    space = BitsSpace(weight_bits=(4, 8), **options)
    choices = space.choices(with_site())
    assert {c.activations.output_bits for c in choices} == bits
    assert len(set(choices)) == len(choices)
    for choice in choices:
        assert space.decode(with_site(), space.encode(with_site(), choice)) == choice
    plain = layer_spec("a", (4, 4, 3, 3))
    assert {c.activations.output_bits for c in space.choices(plain)} == {32}
