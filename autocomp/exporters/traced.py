"""A compressed network as a graph that is still to get its codes."""

from __future__ import annotations

from torch import nn

from autocomp.artifacts.packed import PackedModel
from autocomp.core.quantized import Quantized
from autocomp.core.structured import Inputs
from autocomp.exporters.activations import TracedQuantizer
from autocomp.exporters.fold import drop_clips
from autocomp.exporters.graph import Graph
from autocomp.exporters.residual import join_integers
from autocomp.runtime import trace


def coded_weights(packed: PackedModel) -> dict[str, Quantized]:
    """Returns the weights that are codes, by the names that the file stores them under."""
    return {name: w for name, w in packed.weights.items() if isinstance(w, Quantized)}


def owners(packed: PackedModel) -> dict[str, str]:
    """Returns state-dict name -> the name that is stored, for codes and what is tied to them."""
    coded = coded_weights(packed)
    tied = {alias: owner for alias, owner in packed.aliases.items() if owner in coded}
    return {**{name: name for name in coded}, **tied}


def traced_graph(
    network: nn.Module, packed: PackedModel, example: Inputs, opset: int, one: bool = False
) -> Graph:
    """Returns the network's graph: coded weights are inputs, values are rounded as in the network.

    What is idle between two quantizers is taken out.

    Args:
        network: the evaluated network.
        packed: what its file holds.
        example: as `trace`.
        opset: as `trace`.
        one: as `trace`.
    """
    hosts = {layer.name: layer.host for layer in packed.layers}
    inputs = {hosts[name]: TracedQuantizer(q) for name, q in packed.activations.items()}
    outputs = {
        output.module: TracedQuantizer(output.quantizer).on_output
        for several in packed.outputs.values()
        for output in several
    }
    graph = Graph(trace(network, example, opset, inputs, list(owners(packed)), outputs, one))
    drop_clips(graph)
    join_integers(graph)
    return graph
