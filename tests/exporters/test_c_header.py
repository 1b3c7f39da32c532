"""Networks as C headers: compiled by the system's compiler, they give the network's outputs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

import autocomp
from autocomp.artifacts.container import unpack
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import DataSplits, load_data
from autocomp.errors import ArtifactError, ModelError, UnknownNameError
from autocomp.exporters import formats
from autocomp.exporters.c_compiled import CompiledHeader
from autocomp.exporters.c_file import c_header, c_name, export_c
from autocomp.exporters.formats import Exporter
from autocomp.exporters.report import Exported
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


class Calls(nn.Module):
    """A function as a network."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the function returns."""
        return self.call(x)


def same(net: nn.Module, images: Tensor) -> None:
    compiled = CompiledHeader(c_header(net.eval(), None, images[:1], "net"))
    with torch.no_grad():
        wanted = net(images)
    assert torch.allclose(compiled.outputs(images), wanted, atol=1e-5, rtol=1e-4)


IMAGES = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding=2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU6()),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Sequential(nn.Flatten(), nn.Linear(120, 3)),
        nn.Sequential(nn.Flatten(2), nn.Linear(30, 3, bias=False)),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 5, stride=2, padding=1)),
        nn.LayerNorm([6, 5]),
        nn.Softmax(-1),
        *[nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Hardswish()],
        *[nn.Hardsigmoid(), nn.LeakyReLU(0.3), nn.Hardtanh(-0.5, 2.0), nn.ReLU()],
        Calls(lambda x: x + x.mean((2, 3), keepdim=True)),
        Calls(lambda x: (x * 2 - 1) / 3),
        Calls(lambda x: F.pad(x, (1, 2, 0, 3), value=0.5)),
        Calls(lambda x: torch.cat([x, x[:, 1:3], -x], 1)),
        Calls(lambda x: x[:, :, ::2, 1:-1]),
        Calls(lambda x: x.permute(0, 2, 3, 1).reshape(len(x), 30, 4)),
        Calls(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2)),
        Calls(lambda x: torch.stack(x.chunk(2, 1), 1)),
        Calls(lambda x: x[:, 2].exp() + x[:, -1].sigmoid()),
        Calls(lambda x: torch.minimum(x, x.mean((2, 3), keepdim=True)).clamp(max=0.25)),
    ],
    ids=lambda layer: str(layer).replace("\n", "")[:40] if isinstance(layer, nn.Module) else "x",
)  # fmt: skip
def test_operators(layer: nn.Module) -> None:
    torch.manual_seed(0)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
    same(layer, IMAGES)


class Odd(nn.Module):
    """A layer whose bias is one number, or comes from the input."""

    def __init__(self, computed: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 7))
        self.bias = nn.Parameter(torch.randn(1))
        self.computed = computed

    def forward(self, x: Tensor) -> Tensor:
        """Returns x W^T + b."""
        return F.linear(x, self.weight, x[:, :1] if self.computed else self.bias)


def test_biases_of_other_sizes() -> None:
    torch.manual_seed(0)
    same(Odd(False), ROWS)
    with pytest.raises(ModelError, match="biases of 5 numbers here, but got"):
        c_header(Odd(True).eval(), None, ROWS[:1], "net")


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Flatten()])
def test_networks_without_a_buffer(layer: nn.Module) -> None:
    compiled = CompiledHeader(c_header(layer, None, IMAGES[:1], "net"))
    assert torch.equal(compiled.outputs(IMAGES), layer(IMAGES))


class Residual(nn.Module):
    """A stem, a sum, a head; enough to round everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.block, self.head = nn.Identity(), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = F.relu(self.norm(self.stem(x)))
        return self.head(self.block(F.relu(x + self.norm2(self.conv(x)))).mean((2, 3)))


def splits(shape: tuple[int, ...]) -> tuple[Tensor, DataSplits]:
    images = torch.randn(96, *shape, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(96) % 10
    parts = tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64))
    return images, load_data(parts)


@pytest.fixture(scope="module", params=["linear", "convolutional", "attention"])
def problem(request: Any) -> CompressionProblem:
    torch.manual_seed(0)
    if request.param == "linear":
        net: nn.Module = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 10))
        shape: tuple[int, ...] = (12,)
    elif request.param == "convolutional":
        net, shape = Residual(), (1, 8, 8)
    else:
        net = build_model("vit", image_size=8, patch=4, dim=24, depth=1, heads=2)
        shape = (3, 8, 8)
    images, data = splits(shape)
    net.train()
    with torch.no_grad():
        for _ in range(10):
            net(images)
    return CompressionProblem(net.eval(), data, "size=100%")


@pytest.mark.parametrize(
    "choice",
    [
        Choice.of(weight_bits=1),
        Choice.of(weight_bits=2, sparsity=0.4),
        Choice.of(weight_bits=3),
        Choice.of(weight_bits=8, activation_bits=8, output_bits=8),
        Choice.of(weight_bits=5, activation_bits=5, output_bits=6),
        Choice.of(activation_bits=16),
        Choice.of(sparsity=0.5),
    ],
    ids=str,
)
def test_compressed_networks(problem: CompressionProblem, choice: Choice) -> None:
    plan = Plan({
        x.name: choice if x.quantizable_input else choice.replace(activation_bits=32)
        for x in problem.network.layers
    })  # fmt: skip
    network, file = problem.compressed(plan)
    images = problem.data.search.batch(slice(0, 16))[0]
    header = c_header(network, unpack(file), images[:1], "net")
    found = CompiledHeader(header).outputs(images)
    with torch.no_grad():
        wanted = network(images)
    gap = (found - wanted).abs()
    if choice.activations.bits == 32:
        assert float(gap.max()) < 1e-4
    # a value on the boundary of two levels may fall to either side
    assert float(gap.mean()) < 0.02 * float(wanted.abs().mean())
    for layer in header.report.layers:
        if choice.weights.bits < 32:
            assert int(layer.stored.split()[0]) <= choice.weights.bits
        else:
            assert layer.stored == "float32"
        assert bool(layer.size_only) == bool(choice.weights.sparsity)


def test_weights_are_packed_in_just_their_bits() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(50, 40, bias=False)).eval()
    images, data = splits((50,))
    problem = CompressionProblem(net, data, "size=100%")
    network, file = problem.compressed(Plan({"0": Choice.of(weight_bits=3)}))
    header = c_header(network, unpack(file), images[:1], "net")
    # 2,000 codes of three bits, and a scale a row
    assert header.report.bytes == 2000 * 3 // 8 + 40 * 4
    (numbers,) = re.findall(r"static const uint8_t net_k\d+\[750\] = \{([^}]*)\}", header.text)
    stored = np.array([int(x) for x in numbers.split(",")], np.uint8)
    bits = np.unpackbits(stored, bitorder="little").reshape(-1, 3) @ np.array([1, 2, 4])
    codes = unpack(file).weights["0.weight"].codes.reshape(-1).numpy()  # type: ignore[union-attr]
    assert (bits + int(codes.min()) == codes).all()


def test_places_are_used_again() -> None:
    layers = [nn.Linear(64, 64) for _ in range(12)]
    header = c_header(nn.Sequential(*layers).eval(), None, torch.rand(1, 64), "deep")
    (floats,) = re.findall(r"static float m\[(\d+)\]", header.text)
    assert int(floats) == 2 * 64


def test_two_networks_in_one_program(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets = {"mac_one": nn.Linear(3, 2), "ac_": nn.Sequential(nn.Linear(3, 9), nn.Linear(9, 2))}
    x = torch.tensor([[0.5, -1.0, 2.0]])
    program = ["#include <stdio.h>"]
    for name, net in nets.items():
        header = c_header(net.eval(), None, x, c_name(Path(f"{name}.h")))
        (tmp_path / f"{header.name}.h").write_text(header.text)
        program.append(f'#include "{header.name}.h"')
    program.append("int main(void) { float x[3] = {0.5f, -1.0f, 2.0f}, y[2];")
    for name in map(c_name, map(Path, nets)):
        program.append(f'{name}_run(x, y); printf("%.6f %.6f\\n", y[0], y[1]);')
    (tmp_path / "main.c").write_text("\n".join([*program, "return 0; }"]))
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    subprocess.run(
        [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "main.c", "-lm", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    out = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    found = [list(map(float, line.split())) for line in out.splitlines()]
    for net, values in zip(nets.values(), found, strict=True):
        assert values == pytest.approx(net(x).flatten().tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("model.h", "model"), ("My Net-2.h", "my_net_2"), ("7.h", "network_7"), ("**.h", "network")],
)
def test_names_that_c_takes(name: str, wanted: str) -> None:
    assert c_name(Path(name)) == wanted


def test_what_has_no_c_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(net: nn.Module, example: Any, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            c_header(net.eval(), None, example, "net")
        assert "\n" not in str(caught.value)

    refused(nn.Embedding(5, 3), torch.tensor([[1, 2]]), "one tensor of floats")
    refused(Calls(lambda x: x.sin()), IMAGES[:1], "Sin has none here; export to onnx")
    refused(nn.Conv3d(1, 1, 1), torch.rand(1, 1, 2, 2, 2), "one and two dimensions")
    refused(Calls(lambda x: x.mean(1)), IMAGES[:1], "means over the last axes")
    refused(Calls(lambda x: x * float("inf")), IMAGES[:1], "must be finite")
    refused(Calls(lambda x: (x * 3).int().float()), IMAGES[:1], "floats alone, but got a Cast")
    refused(Calls(lambda x: x.bool().float() * 2), IMAGES[:1], "floats alone, but got a Cast")
    refused(nn.AvgPool2d(2, 2, ceil_mode=True), IMAGES[:1], "last window is whole")
    ceil = nn.Sequential(nn.MaxPool2d(2, 3, 1, ceil_mode=True), nn.Flatten())
    refused(ceil, IMAGES[:1], "last window is whole")
    refused(Calls(lambda x: torch.ones(1, 3)), IMAGES[:1], "must depend on its input")
    refused(
        Calls(lambda x: (x + 1, x - 1)), IMAGES[:1], "one input and one output, but got 1 and 2"
    )
    refused(Calls(lambda x: x.mean((2, 3)).squeeze(0)), IMAGES[:1], "keep its first axis")
    many = Calls(lambda x: x.reshape(1, 2, 2, 1, 2, 3, 1, 5, 1).permute(*reversed(range(9))))
    refused(many, IMAGES[:1], "8 axes at most")
    with pytest.raises(ArtifactError, match="must be writable"):
        export_c(nn.Linear(2, 2).eval(), unpack_of(nn.Linear(2, 2)), torch.rand(1, 2), tmp_path)
    header = c_header(nn.Linear(2, 2).eval(), None, torch.rand(1, 2), "net")
    with pytest.raises(ModelError, match="takes 2 floats"):
        CompiledHeader(header).outputs(torch.rand(1, 3))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ModelError, match="needs a C compiler"):
        CompiledHeader(header)


def unpack_of(net: nn.Module) -> Any:
    _, data = splits((2,))
    problem = CompressionProblem(nn.Sequential(net).eval(), data, "size=100%")
    return unpack(problem.compressed(problem.network.neutral_plan())[1])


def test_a_run_is_exported_checked_and_timed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, data = splits((1, 8, 8))
    net = Residual().train()
    net(images)
    run = autocomp.quantize(
        net.eval(), data, weights=4, activations=8, out=tmp_path / "run", report="none",
        cache="none", progress=False,
    )  # fmt: skip
    found = autocomp.export(tmp_path / "run", "c", data=data, model=net)
    text = (tmp_path / "run" / "model.h").read_text()
    assert text.startswith("/* model: one function, model_run")
    assert found.check.n == 32 and found.check.agreement is not None
    assert found.check.agreement > 0.9
    assert found.check.bytes == found.report.bytes < found.float_bytes
    assert found.seconds > 0 and found.threads == 1
    assert {x.name: x.stored for x in found.report.layers} == dict.fromkeys(run.plan, "4 bits")
    with pytest.raises(ArtifactError, match="no opset and one thread, but got opset=21"):
        autocomp.export(tmp_path / "run", "c", data=data, model=net, opset=21)
    with pytest.raises(ArtifactError, match="over the run's own file"):
        autocomp.export(
            tmp_path / "run", "c", data=data, model=net, out=tmp_path / "run/model.safetensors"
        )
    with pytest.raises(UnknownNameError, match="format"):
        autocomp.export(tmp_path / "run", "cc", data=data, model=net)


def test_a_header_that_computes_something_else_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    _, data = splits((1, 8, 8))
    net = Residual().eval()
    autocomp.quantize(
        net, data, out=tmp_path / "run", report="none", cache="none", progress=False
    )  # fmt: skip
    plain = CompiledHeader.outputs
    monkeypatch.setattr(CompiledHeader, "outputs", lambda self, x: plain(self, x) + 0.1)
    with pytest.raises(ModelError, match="must give the network's outputs.*differ by 0.1"):
        autocomp.export(tmp_path / "run", "c", data=data, model=net)
    assert not (tmp_path / "run" / "model.h").exists()


def test_another_packages_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def write(file: Path, out: Path, data: Any, *more: Any, **named: Any) -> str:
        asked.update(file=file, out=out, **named)
        return "exported"

    monkeypatch.setitem(formats.EXPORTERS, "mine", Exporter(".mine", write))  # type: ignore[arg-type]
    images, data = splits((1, 8, 8))
    net = Residual().eval()
    autocomp.quantize(net, data, out=tmp_path / "run", report="none", cache="none", progress=False)
    done: Exported | str = autocomp.export(tmp_path / "run", "mine", data=data, model=net)
    assert done == "exported" and asked["out"] == tmp_path / "run" / "model.mine"
    assert asked["split"] == "test" and asked["threads"] == 1
    monkeypatch.setitem(formats.EXPORTERS, "wrong", write)
    with pytest.raises(ArtifactError, match="must be an Exporter"):
        autocomp.export(tmp_path / "run", "wrong", data=data, model=net)
