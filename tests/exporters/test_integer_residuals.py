"""Residual networks as graphs of integers: what is exported is what was evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from autocomp.artifacts.container import unpack
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import load_data
from autocomp.exporters.graph import Graph
from autocomp.exporters.onnx_file import export_onnx
from autocomp.exporters.residual import join_integers
from autocomp.problem.problem import CompressionProblem
from autocomp.runtime import open_session, run


class Shrinking(nn.Module):
    """A residual network with a zero-padded shortcut and one by a convolution."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.first, self.norm1 = nn.Conv2d(6, 10, 3, 2, 1, bias=False), nn.BatchNorm2d(10)
        self.second, self.norm2 = nn.Conv2d(10, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.shortcut, self.norm3 = nn.Conv2d(10, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.block1, self.block2 = nn.Identity(), nn.Identity()
        self.activation = activation
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits."""
        x = relu(self.norm(self.stem(x)))
        y = self.norm1(self.first(x)) + pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        x = self.block1(relu(y))
        x = self.block2(relu(self.norm2(self.second(x)) + self.norm3(self.shortcut(x))))
        return self.head(self.activation(x).mean((2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def problem_of(net: nn.Module, images: Tensor) -> CompressionProblem:
    torch.manual_seed(2)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(images)  # statistics of the norms
    labels = torch.arange(96) % 10
    parts = tuple((images[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64))
    return CompressionProblem(net.eval(), load_data(parts), "size=100%")


def plan_of(problem: CompressionProblem, **choice: int) -> Plan:
    return Plan({x.name: Choice.of(**choice) for x in problem.network.layers})


@pytest.mark.parametrize(("bits", "outputs"), [(8, 8), (4, 8), (4, 4), (8, 16)])
def test_the_graph_is_the_evaluated_network(
    images: Tensor, tmp_path: Path, bits: int, outputs: int
) -> None:
    torch.manual_seed(0)
    problem = problem_of(Shrinking(nn.Identity()), images)
    plan = plan_of(problem, weight_bits=bits, activation_bits=bits, output_bits=outputs)
    network, file = problem.compressed(plan)
    report = export_onnx(network, unpack(file), images[:1], tmp_path / "m.onnx")
    if outputs <= 8:  # more are no integers to a runtime
        assert [x.kernel for x in report.layers[:-1]] == ["QLinearConv"] * 4
        assert not [name for name in report.size_only if name != "head"]
    data = (tmp_path / "m.onnx").read_bytes()
    with torch.no_grad():
        wanted = network(images)
    found = run(open_session(data, save=tmp_path / "run.onnx"), images)
    # a sum on the boundary of two levels may fall to either side
    assert float((found - wanted).abs().mean()) < 0.02 * float(wanted.abs().mean())
    operators = [n.op_type for n in onnx.load(str(tmp_path / "run.onnx")).graph.node]
    assert outputs > 8 or ("Conv" not in operators and "Relu" not in operators)
    if outputs == 8:  # fewer are integers with a shift behind them
        assert operators.count("QLinearAdd") == 2


def test_without_output_bits_sums_are_floats(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    problem = problem_of(Shrinking(nn.Identity()), images)
    network, file = problem.compressed(plan_of(problem, weight_bits=8, activation_bits=8))
    report = export_onnx(network, unpack(file), images[:1], tmp_path / "m.onnx")
    assert [x.kernel for x in report.layers[:-1]] == ["float32"] * 4


def test_an_activation_that_no_integer_stands_for(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    problem = problem_of(Shrinking(nn.SiLU()), images)
    plan = plan_of(problem, weight_bits=8, activation_bits=8, output_bits=8)
    network, file = problem.compressed(plan)
    report = export_onnx(network, unpack(file), images[:1], tmp_path / "m.onnx")
    assert [x.kernel for x in report.layers[:-1]] == ["QLinearConv"] * 4
    found = run(open_session((tmp_path / "m.onnx").read_bytes()), images)
    with torch.no_grad():
        wanted = network(images)
    assert float((found - wanted).abs().mean()) < 0.02 * float(found.abs().mean())


def moved(*nodes: onnx.NodeProto, shape: list[int] | None = None) -> tuple[list[str], Graph]:
    """Returns the operators that are left of what stands behind a DequantizeLinear."""
    helper, kind = onnx.helper, onnx.TensorProto
    constants = [
        onnx.numpy_helper.from_array(np.float32(0.5), "step"),
        onnx.numpy_helper.from_array(np.float32(0.25), "finer"),
        onnx.numpy_helper.from_array(np.uint8(0), "zero"),
        onnx.numpy_helper.from_array(np.uint8(7), "seven"),
        onnx.numpy_helper.from_array(np.float32(1), "one"),
        onnx.numpy_helper.from_array(np.float32(-3.5), "low"),
        onnx.numpy_helper.from_array(np.float32(124), "high"),
        onnx.numpy_helper.from_array(np.int64([0, 1, 0, 1]), "pads"),
    ]
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("q", kind.UINT8, ["n", 4])],
        [helper.make_tensor_value_info("y", kind.FLOAT, None)], constants,
    )  # fmt: skip
    made = Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    join_integers(made)
    return [n.op_type for n in made.model.graph.node], made


def node(operator: str, *inputs: str, **more: object) -> onnx.NodeProto:
    *given, output = inputs
    return onnx.helper.make_node(operator, given, [output], **more)


def test_clips_that_no_level_lies_beyond_go() -> None:
    start = node("DequantizeLinear", "q", "step", "zero", "a")
    left, _ = moved(start, node("Relu", "a", "b"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Neg"]
    signed = node("DequantizeLinear", "q", "step", "seven", "a")  # -3.5 to 124
    left, _ = moved(signed, node("Relu", "a", "b"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Relu", "Neg"]
    left, _ = moved(signed, node("Clip", "a", "low", "high", "b"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Neg"]
    left, _ = moved(start, node("Clip", "a", "", "high", "b"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Clip", "Neg"]  # 127.5 lies beyond


def test_the_same_rounding_twice_is_once() -> None:
    start, end = (
        node("DequantizeLinear", x, "step", "zero", y) for x, y in (("q", "a"), ("b", "c"))
    )
    left, _ = moved(
        start, node("QuantizeLinear", "a", "step", "zero", "b"), end, node("Neg", "c", "y")
    )
    assert left.count("QuantizeLinear") == 0
    for step, zero in (("finer", "zero"), ("step", "seven")):
        other = node("QuantizeLinear", "a", step, zero, "b")
        assert "QuantizeLinear" in moved(start, other, end, node("Neg", "c", "y"))[0]


def test_values_are_moved_as_codes_and_padded_with_the_zero_point() -> None:
    start = node("DequantizeLinear", "q", "step", "seven", "a")
    left, graph = moved(start, node("Pad", "a", "pads", "b"), node("Neg", "b", "y"))
    assert left[-3:] == ["Pad", "DequantizeLinear", "Neg"]
    padded = next(n for n in graph.model.graph.node if n.op_type == "Pad")
    assert padded.input[0] == "q" and int(graph.constant(padded.input[2])) == 7
    left, _ = moved(start, node("Pad", "a", "pads", "one", "b"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Pad", "Neg"]  # ones are no zeros
    left, _ = moved(start, node("Pad", "a", "pads", "b", mode="reflect"), node("Neg", "b", "y"))
    assert left == ["DequantizeLinear", "Pad", "Neg"]
    left, _ = moved(start, node("MaxPool", "a", "b", kernel_shape=[2, 2]), node("Neg", "b", "y"))
    assert left[-3:] == ["MaxPool", "DequantizeLinear", "Neg"]
    left, _ = moved(start, node("Transpose", "a", "y"))
    assert left == ["DequantizeLinear", "Transpose"]  # it is the graph's output
