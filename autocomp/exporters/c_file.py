"""Exporting a compressed network as a C header for devices without a runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from autocomp.artifacts.packed import PackedModel
from autocomp.core.structured import Inputs
from autocomp.errors import ModelError
from autocomp.exporters.c_source import CSource
from autocomp.exporters.fold import fold_norm
from autocomp.exporters.graph import Graph
from autocomp.exporters.integers import Codes
from autocomp.exporters.matrix import Linear, is_layer
from autocomp.exporters.report import ExportReport, LayerExport
from autocomp.exporters.traced import coded_weights, owners, traced_graph
from autocomp.exporters.written import write_export
from autocomp.runtime import OPSET, library, trace


@dataclass(frozen=True)
class CHeader:
    """A network as C.

    Attributes:
        text: the header.
        name: what its functions begin with.
        output_shape: of one input's outputs, which lie there row by row.
        report: how each layer is stored; its `bytes` are those of the constants.
    """

    text: str
    name: str
    output_shape: tuple[int, ...]
    report: ExportReport


def export_c(network: nn.Module, packed: PackedModel, example: Inputs, path: Path) -> CHeader:
    """Writes a compressed network as one C header: C99, no heap, no library but math.h.

    `NAME_run(const float *x, float *y)` computes one input. Weights are packed codes of just as
    many bits as they have, with one scale a channel, and are multiplied out row by row; batch norms
    behind them are part of the scales. Values are floats, rounded where the network rounds them;
    they lie in one static buffer, in which places are used again. NAME is the file's, with
    underscores for what C does not take.

    Args:
        network: what a compressed file holds, in evaluation mode.
        packed: that file's contents.
        example: one input, a single tensor of floats.
        path: the header to write; it appears whole or not at all.

    Raises:
        ArtifactError: if the file cannot be written.
        ModelError: if a library is missing, the network cannot be traced, it takes anything but one
            tensor of floats, or an operator has no C here.
    """
    header = c_header(network, packed, example, c_name(path))
    write_header(header, path)
    return header


def write_header(header: CHeader, path: Path) -> None:
    """Writes a header, whole or not at all; ArtifactError where that fails."""
    write_export(path, header.text.encode(), "The C header")


def c_name(path: Path) -> str:
    """Returns what a header's functions begin with: the file's name, as C takes it."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", Path(path).stem).strip("_").lower()
    return name if re.match(r"[a-z]", name) else f"network_{name}".rstrip("_")


def c_header(network: nn.Module, packed: PackedModel | None, example: Inputs, name: str) -> CHeader:
    """Returns a header; without a file's contents all of it is in floats."""
    for needed in ("onnx", "onnxscript"):
        library(needed)
    if not isinstance(example, Tensor) or not example.is_floating_point():
        raise ModelError(
            "A network must take one tensor of floats to be written as C, but this one takes "
            "something else; export to onnx."
        )
    graph, weights, left = _graph(network, packed, example)
    source = CSource(graph, _shapes(graph), weights, name)
    text = source.text()
    for alias, owner in (packed.aliases if packed is not None else {}).items():
        if alias in source.integers:
            source.integers.setdefault(owner, source.integers[alias])
    layers = () if packed is None else _layers(packed, source, left)
    report = ExportReport(0, source.bytes, layers)
    return CHeader(text, name, source.output_shape, report)


def _layers(packed: PackedModel, source: CSource, left: dict[str, str]) -> tuple[LayerExport, ...]:
    found = []
    for layer in packed.layers:
        choice, name = packed.plan[layer.name], layer.parameter
        zeros = choice.weights.sparsity or choice.weights.pattern
        why = "zeros are stored and computed like other weights" if zeros else ""
        stored = source.integers.get(name, "float32")
        found.append(LayerExport(layer.name, str(choice), stored, "C", left.get(name, why)))
    return tuple(found)


def _graph(
    network: nn.Module, packed: PackedModel | None, example: Tensor
) -> tuple[Graph, dict[str, Codes], dict[str, str]]:
    """Returns the graph, its coded weights, and why others are floats."""
    if packed is None:
        graph = Graph(trace(network, example, one=True))
        graph.clean()
        return graph, {}, {}
    coded, names = coded_weights(packed), owners(packed)
    graph = traced_graph(network, packed, example, OPSET, one=True)
    weights: dict[str, Codes] = {}
    left: dict[str, str] = {}
    for name in [x for x in names if x in graph.inputs]:
        weight, uses = coded[names[name]], graph.users(name)
        codes = Codes.of(weight)
        whole = [is_layer(use, name) or Linear.of(graph, use, name) is not None for use in uses]
        if codes is None or codes.axis not in (None, 0) or not uses or not all(whole):
            graph.remove_input(name)
            graph.restore(name, weight.dequantize().numpy())
            left[names[name]] = "used in a way that C has in floats alone"
            continue
        if len(uses) == 1 and is_layer(uses[0], name):
            codes = fold_norm(graph, uses[0], codes, 0)
        weights[name] = codes
    graph.clean()
    return graph, weights, left


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    onnx = library("onnx")
    inferred = onnx.shape_inference.infer_shapes(graph.model, data_prop=True).graph
    return {
        x.name: tuple(
            d.dim_value if d.HasField("dim_value") else -1 for d in x.type.tensor_type.shape.dim
        )
        for x in (*inferred.value_info, *inferred.input, *inferred.output)
        if x.type.tensor_type.HasField("shape")
    }
