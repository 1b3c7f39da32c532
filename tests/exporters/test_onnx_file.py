"""Exported files: the same numbers as the network, in the types that were promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

import autocomp.exporters.onnx_file as onnx_file
from autocomp.artifacts.packed import PackedModel
from autocomp.core.quantized import Quantized
from autocomp.errors import ArtifactError, ModelError
from autocomp.exporters.onnx_file import export_onnx
from autocomp.exporters.report import Check, ExportReport
from autocomp.exporters.verify import verify
from autocomp.models import build_model
from autocomp.tasks import Classification


def exported(
    made: tuple[nn.Module, PackedModel], images: Tensor, path: Path, opset: int | None = None
) -> tuple[ExportReport, Check, Any]:
    """Exports and checks a network; returns the graph, too."""
    report = export_onnx(made[0], made[1], images[:2], path, opset)
    labels = torch.zeros(len(images), dtype=torch.long)
    batches = [(images[:1], labels[:1]), (images[1:], labels[1:])]  # any number of images
    check = verify(path, made[0], batches, Classification())
    assert report.bytes == check.bytes == path.stat().st_size and check.n == len(images)
    return report, check, onnx.load(str(path)).graph


def types(graph: Any) -> dict[str, str]:
    return {x.name: TensorProto.DataType.Name(x.data_type) for x in graph.initializer}


@pytest.mark.parametrize(
    ("bits", "symmetric", "opset", "stored"),
    [
        (2, True, 25, "int2"),
        (2, False, 25, "uint2"),
        (3, True, 21, "int4"),
        (4, False, 21, "uint4"),
        (6, True, 21, "int8 weights"),
        (8, False, 21, "uint8 weights"),
        (16, True, 21, "int16"),
    ],
)
def test_weights_alone_give_the_networks_logits(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path,
    bits: int, symmetric: bool, opset: int, stored: str,
) -> None:  # fmt: skip
    made = quantize(small_net, images, bits, symmetric=symmetric)
    report, check, graph = exported(made, images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5 and check.agreement == 1
    assert report.opset == opset
    assert [x.stored for x in report.layers] == [stored] * 5
    name = stored.split()[0]
    assert types(graph)["0.weight.codes"] == name.upper()
    assert report.size_only["0"].startswith(f"{bits} bits in {name}, computed in float32")
    # multiplied out once, by any runtime: no session's default repeats that for every batch
    operators = {node.op_type for node in graph.node}
    assert "DequantizeLinear" not in operators and "MatMulNBits" not in operators
    assert b"test_onnx" not in (tmp_path / "m.onnx").read_bytes()  # no source code is named
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    # batch norms are part of the scales
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_codes_are_the_files_own(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    made = quantize(small_net, images, 4)
    graph = exported(made, images, tmp_path / "m.onnx")[2]
    stored = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    gains = small_net.get_submodule("1").weight
    codes = made[1].weights["0.weight"].codes * torch.sign(gains).reshape(-1, 1, 1, 1)
    assert torch.equal(torch.from_numpy(stored["0.weight.codes"].astype("float32")), codes)
    # without a batch norm behind it, the scale is the file's, too
    weight = made[1].weights["7.weight"]
    assert stored["7.weight.scale"].flatten().tolist() == weight.scale.flatten().tolist()


def test_dense_layers_stay_as_they_are(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    report, check, graph = exported(quantize(small_net, images), images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5 and not report.size_only
    assert {x.stored for x in report.layers} == {"float32"}
    assert set(types(graph).values()) <= {"FLOAT", "INT64"}


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_activations_alone_are_rounded_as_in_the_network(
    quantize: Any, images: Tensor, tmp_path: Path, bits: int
) -> None:
    """The runtime would quantize such weights itself, between quantized inputs and outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.Linear(128, 5), nn.ReLU(), nn.Linear(5, 4),
    )  # fmt: skip
    made = quantize(net, images, 32, bits)
    # beyond the calibrated range, inputs are clipped
    report, check, graph = exported(made, 3 * images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-4
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    assert report.size_only["0"] == f"inputs of {bits} bits, computed in float32"


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "kind"),
    [(8, 8, "INT8"), (5, 4, "INT8"), (4, 8, "INT4"), (2, 8, "INT2")],
)
def test_integer_convolutions(
    quantize: Any, images: Tensor, tmp_path: Path, weight_bits: int, activation_bits: int, kind: str
) -> None:
    """Without biases, sums of integers are exact, and so are the logits."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 2, bias=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    made = quantize(net, images, weight_bits, activation_bits)
    report, check, graph = exported(made, images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-4
    assert types(graph)["0.weight.codes"] == kind
    assert [x.kernel for x in report.layers[:2]] == ["QLinearConv"] * 2
    assert not {"0", "3"} & set(report.size_only)
    assert report.layers[2].kernel == "MatMulIntegerToFloat" and not report.size_only
    assert "Relu" not in {node.op_type for node in graph.node}  # the quantizers clip as much


def test_biases_are_rounded_to_a_small_unit(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    for bits in (8, 4):
        made = quantize(small_net, images, bits, 8)
        report, check, _ = exported(made, images, tmp_path / f"{bits}.onnx")
        assert check.agreement == 1 and check.largest_difference < 0.05
        kernels = [x.kernel for x in report.layers]
        assert kernels[:2] == ["QLinearConv"] * 2
        assert kernels[2] == "float32"  # its outputs are averaged before they are quantized


def test_asymmetric_weights_beside_quantized_inputs(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    """Eight bits with a zero point are no int8; four bits are, once widened."""
    made = quantize(small_net, images, 8, 8, symmetric=False)
    report, check, _ = exported(made, images, tmp_path / "8.onnx")
    assert check.agreement == 1 and check.largest_difference < 0.05
    assert report.layers[1].stored == "uint8 weights" and report.layers[1].kernel == "float32"
    made = quantize(small_net, images, 4, 8, symmetric=False)
    report, check, _ = exported(made, images, tmp_path / "4.onnx")
    assert check.agreement == 1 and check.largest_difference < 0.05
    assert report.layers[1].stored == "uint4 QDQ" and report.layers[1].kernel == "QLinearConv"


@pytest.mark.parametrize(("bits", "activation_bits"), [(4, 32), (8, 8)])
def test_a_vision_transformer(
    quantize: Any, tmp_path: Path, bits: int, activation_bits: int
) -> None:
    net = build_model("vit", image_size=8, patch=4, dim=24, depth=1, heads=2)
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = quantize(net, images, bits, activation_bits)
    report, check, _ = exported(made, images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-4
    stored = {x.name: x.stored for x in report.layers}
    whole = "int8 MatMulInteger" if activation_bits == 8 else "int4"
    assert {stored[x] for x in ("blocks.0.attention.in_proj", "blocks.0.fc1", "head")} == {whole}
    assert stored["blocks.0.attention.out_proj"] == ("int8 weights" if bits == 8 else "int4")


class Tied(nn.Module):
    """Token scores by the embedding's own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)
        self.scores = nn.Linear(6, 11, bias=False)
        self.scores.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens).mean(1)
        scores: Tensor = self.scores(self.mix(self.mix(x)))
        return scores


def test_tied_and_shared_weights_and_whole_numbers_as_inputs(quantize: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (9, 5))
    report, check, _ = exported(quantize(Tied(), tokens, 4), tokens, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5
    assert {x.name: x.stored for x in report.layers} == {
        "embedding": "int4", "mix": "int4"
    }  # fmt: skip
    _, check, _ = exported(quantize(Tied(), tokens, 8, 8), tokens, tmp_path / "8.onnx")
    assert check.largest_difference < 1e-4


def test_transposed_convolutions_and_shared_ones(quantize: Any, tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
            self.norm = nn.BatchNorm2d(4)
            self.same = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.same(torch.relu(self.same(torch.relu(self.norm(self.up(x))))))
            return x.mean((2, 3))

    torch.manual_seed(0)
    images = torch.randn(6, 3, 4, 4)
    for bits, activation_bits, bound in ((4, 32, 1e-5), (8, 8, 0.02)):
        made = quantize(Net(), images, bits, activation_bits)
        _, check, _ = exported(made, images, tmp_path / f"{bits}.onnx")
        assert check.largest_difference < bound


def test_sparsity_is_size_only(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    made = quantize(small_net, images, 4, sparsity=0.5)
    report, check, _ = exported(made, images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5
    assert all("zeros are stored" in why for why in report.size_only.values())
    assert len(report.size_only) == 5
    assert "BatchNormalization" not in str(report)


def test_a_runtime_without_two_bits_gets_four(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = quantize(small_net, images, 2)
    monkeypatch.setattr(onnx_file, "runs_integers", lambda bits, opset: False)
    monkeypatch.setattr(onnx_file, "multiplies_bits", lambda bits, opset: False)
    report, check, _ = exported(made, images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5 and report.opset == 21
    assert {x.stored for x in report.layers} == {"int4"}
    assert "2-bit integers are stored in 4 bits" in report.notes[0]


def test_an_older_opset_stores_two_bits_in_four(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    report, check, graph = exported(quantize(small_net, images, 2), images, tmp_path / "m", 21)
    assert check.largest_difference < 1e-5 and report.opset == 21 and report.notes
    assert [x.stored for x in report.layers] == ["int4"] * 5
    assert "INT2" not in types(graph).values()


def test_codes_that_no_type_holds_are_written_out(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    made = quantize(small_net, images, 4)
    weight = made[1].weights["7.weight"]
    several = Quantized(weight.codes, weight.scale.expand(-1, 8, 1, 1).contiguous())
    weights = {**made[1].weights, "7.weight": several}
    packed = PackedModel(made[1].plan, made[1].layers, weights, made[1].side, {})
    report, check, _ = exported((made[0], packed), images, tmp_path / "m.onnx")
    assert check.largest_difference < 1e-5
    assert report.layers[2].stored == "float32"
    assert report.size_only["7"] == "4 bits that no integer type holds"


def test_exports_are_reproducible_and_leave_the_network_alone(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    net, packed = quantize(small_net, images, 4, 8)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    hooks = [list(m._forward_pre_hooks.values()) for m in net.modules()]
    export_onnx(net, packed, images[:2], tmp_path / "a")
    export_onnx(net, packed, images[:2], tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert hooks == [list(m._forward_pre_hooks.values()) for m in net.modules()]


class Eigen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.eigvals(self.linear(x)).real
        return y


class Branch(Eigen):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y if y.sum() > 0 else -y


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Eigen(), r"must exist in ONNX opset 21, but aten\.linalg_eig\.default does not"),
        (Branch(), "one that torch.export can trace"),
    ],
)
def test_what_onnx_lacks_is_named(
    quantize: Any, tmp_path: Path, net: nn.Module, message: str
) -> None:
    made = quantize(net, torch.randn(2, 3, 3), 4)
    with pytest.raises(ModelError, match=message) as caught:
        export_onnx(*made, torch.randn(2, 3, 3), tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_another_networks_file_is_refused(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    packed = quantize(small_net, images, 4)[1]
    with pytest.raises(ModelError, match="must give the network's logits"):
        export_onnx(small_net, packed, images[:2], tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [7, 20, 26])
def test_the_opset_must_be_in_range(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path, opset: int
) -> None:
    made = quantize(small_net, images, 4)
    with pytest.raises(ArtifactError, match=f"21 <= opset <= 25.*but got {opset}"):
        export_onnx(*made, images, tmp_path / "m.onnx", opset)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_is_named_with_its_extra(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, library: str,
) -> None:  # fmt: skip
    made = quantize(small_net, images, 4)
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ModelError, match=rf"^{library} is needed.*autocomp\[onnx\]"):
        export_onnx(*made, images, tmp_path / "m.onnx")


def test_a_file_that_cannot_be_written(
    quantize: Any, small_net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="must be writable"):
        export_onnx(*quantize(small_net, images, 4), images, tmp_path / "folder")
    assert [x.name for x in tmp_path.iterdir()] == ["folder"]
