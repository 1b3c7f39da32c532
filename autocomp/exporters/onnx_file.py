"""Exporting a compressed network as an ONNX file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autocomp.artifacts.packed import PackedModel
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.core.structured import Inputs
from autocomp.errors import ArtifactError, AutocompError, ModelError
from autocomp.exporters.graph import Graph
from autocomp.exporters.inputs import protect_floats
from autocomp.exporters.integers import Codes, store
from autocomp.exporters.kernels import kernels
from autocomp.exporters.matrix import Widths
from autocomp.exporters.probes import multiplies_bits, runs_integers
from autocomp.exporters.report import ExportReport, LayerExport
from autocomp.exporters.traced import coded_weights, owners, traced_graph
from autocomp.exporters.weights import write_weight
from autocomp.exporters.written import write_export
from autocomp.network.device import dtype_of, of_type
from autocomp.network.forward import forward
from autocomp.plugins.imports import describe
from autocomp.runtime import OPSET, assembled, bare, library, open_session, run, serialized, trace

LEAST_OPSET = OPSET
"""The first version of ONNX's operators with integers of 4 and 16 bits."""
INT2_OPSET = 25
"""The first version with integers of 2 bits, and the last that this exporter was tried with."""
_INTEGER_KERNELS = ("QLinearConv", "MatMulInteger")
_TOLERANCE = 1e-4


def export_onnx(
    network: nn.Module, packed: PackedModel, example: Inputs, path: Path, opset: int | None = None
) -> ExportReport:
    """Writes a compressed network as an ONNX file with integer weights.

    Codes are the compressed file's own (with the other sign where a batch norm's gain is negative:
    batch norms behind quantized layers become part of the scales). Without activation bits the
    file's logits are the network's within 1e-4 of the largest, which is checked before anything is
    written; with them, a sum that lies on the boundary of two levels may fall to either side.

    Args:
        network: what `artifacts.model_file.load` returned, or the evaluated network.
        packed: the same file's contents, from `artifacts.model_file.read`.
        example: a batch of inputs; the file takes any number of them.
        path: the file to write; it appears whole or not at all.
        opset: version of ONNX's operators, from 21 to 25. By default 21, or 25 if a weight has 2
            bits and onnxruntime has a type of them.

    Returns:
        How each layer is stored, and which are smaller but not faster.

    Raises:
        ArtifactError: if the opset is out of range, or the file cannot be written.
        ModelError: if a library is missing, the network cannot be traced, ONNX lacks one of its
            operators, onnxruntime cannot run the file, or it would be longer than 2 GiB.
    """
    check_opset(opset)
    tries = [opset] if opset is not None else _opsets(packed)
    for at in tries:
        try:
            data, report = _build(network, packed, example, at)
            break
        except AutocompError:
            if at == tries[-1]:
                raise
    write_export(path, data, "The ONNX file")
    return report


def export_float(network: nn.Module, example: Inputs, opset: int = LEAST_OPSET) -> bytes:
    """Returns the network as an ONNX file in float32, without activation quantizers.

    It is what an exported file's size and latency are compared with.

    Raises:
        ArtifactError, ModelError: as `export_onnx`.
    """
    check_opset(opset)
    graph = Graph(trace(network, example, opset))
    graph.clean()
    return serialized(assembled(graph.model.graph, opset))


def check_opset(opset: int | None) -> None:
    """Raises ModelError without the libraries, ArtifactError for an opset out of range."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        library(name)
    if opset is not None and not LEAST_OPSET <= opset <= INT2_OPSET:
        raise ArtifactError(
            f"`{LEAST_OPSET} <= opset <= {INT2_OPSET}` must hold (4 bits need {LEAST_OPSET}, "
            f"2 bits {INT2_OPSET}), but got {opset}; leave it out."
        )


def _opsets(packed: PackedModel) -> list[int]:
    """Returns the opsets to try, the best first."""
    for weight in packed.weights.values():
        if isinstance(weight, Quantized):
            codes = Codes.of(weight)
            stored = None if codes is None else store(codes)
            if stored is not None and stored.bits == 2 and runs_integers(2, INT2_OPSET):
                return [INT2_OPSET, LEAST_OPSET]
    return [LEAST_OPSET]


def _build(
    network: nn.Module, packed: PackedModel, example: Inputs, opset: int
) -> tuple[bytes, ExportReport]:
    """Returns the file's bytes and its report."""
    least = 2 if opset >= INT2_OPSET and runs_integers(2, opset) else 4
    widths = Widths(least, multiplies_bits(4, opset))
    coded, places = coded_weights(packed), owners(packed)
    graph = traced_graph(network, packed, example, opset)
    stored: dict[str, str] = {}
    for name, weight in coded.items():
        codes = Codes.of(weight)
        used = [x for x, owner in places.items() if owner == name and x in graph.inputs]
        forms = [write_weight(graph, x, codes, widths) if codes is not None else None for x in used]
        for x, form in zip(used, forms, strict=True):
            if form is None:
                graph.remove_input(x)
                graph.restore(x, weight.dequantize().numpy())
        stored[name] = " + ".join(dict.fromkeys(form or "float32" for form in forms)) or "float32"
    graph.clean()
    protect_floats(graph)
    graph.clean()
    model = assembled(graph.model.graph, opset)
    data = serialized(model)
    _check_file(model)
    _check_logits(network, packed, data, example)
    running = kernels(data)
    layers = tuple(
        _layer(layer.name, packed, layer.parameter, stored.get(layer.parameter, "float32"), running)
        for layer in packed.layers
    )
    notes = tuple(
        f"{bits}-bit integers are stored in {2 * bits} bits: this opset or runtime has none."
        for bits in (2,)
        if least > bits and any("int4" in x.stored and "2 bits" in x.size_only for x in layers)
    )
    return data, ExportReport(opset, len(data), layers, notes)


def _layer(
    name: str, packed: PackedModel, parameter: str, stored: str, running: dict[str, str]
) -> LayerExport:
    choice: Choice = packed.plan[name]
    constants = re.compile(rf"{re.escape(parameter)}\.(codes|int8|dequantized)(\.\d+)?")
    types = [types for x, types in running.items() if types and constants.fullmatch(x)]
    kernel = " + ".join(dict.fromkeys(types)) or "float32"
    why = []
    whole = any(kernel.startswith(x) for x in _INTEGER_KERNELS)
    if choice.weights.bits < 32 and stored == "float32":
        why.append(f"{choice.weights.bits} bits that no integer type holds")
    elif choice.weights.bits < 32 and not whole and not stored.startswith("MatMulNBits"):
        why.append(f"{choice.weights.bits} bits in {stored.split()[0]}, computed in float32")
    if choice.activations.bits < 32 and not whole:
        why.append(f"inputs of {choice.activations.bits} bits, computed in float32")
    if choice.weights.sparsity or choice.weights.pattern:
        why.append("zeros are stored and computed like other weights")
    return LayerExport(name, str(choice), stored, kernel, "; ".join(why))


def _check_file(model: Any) -> None:
    """Raises ArtifactError where a file is none that ONNX's own checker accepts."""
    checker = library("onnx").checker
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        raise ArtifactError(
            f"The network's graph must be one that ONNX has operators for, but {describe(error)}; "
            "replace the module that it names."
        ) from None


def _check_logits(network: nn.Module, packed: PackedModel, data: bytes, example: Inputs) -> None:
    """Raises unless the file runs and, without activation bits, gives the network's logits."""
    found = run(open_session(data), example)
    if packed.activations:
        return
    plain: Any = bare(network)
    if dtype_of(network) != torch.float32 and _belong(network, packed):
        # the file computes in float32, with weights that a narrower network rounds once more
        plain.load_state_dict(packed.state_dict())
    with torch.inference_mode():
        wanted = forward(plain, of_type(example, torch.float32).to("cpu"))
    gap = float((found - wanted).abs().max())
    if not gap <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise ModelError(
            f"The file must give the network's logits, but they differ by {gap:.3g}; give the "
            "network that belongs to the compressed file."
        )


def _belong(network: nn.Module, packed: PackedModel) -> bool:
    """Whether a network's tensors are a file's, in the network's own type."""
    state = network.state_dict()
    return all(
        name in state and torch.equal(stored.to(state[name]), state[name])
        for name, stored in packed.state_dict().items()
    )
