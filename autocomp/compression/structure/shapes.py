"""The shapes that layers have once groups have lost units, without building the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autocomp.compression.structure.groups import ChannelGroup
from autocomp.core.layer_spec import LayerSpec


@dataclass(frozen=True)
class Reads:
    """How many channels of a layer belong to one unit of a group.

    Attributes:
        group: the group's name.
        outputs: outputs of the layer that a unit takes along.
        inputs: inputs of the layer that a unit takes along.
    """

    group: str
    outputs: int
    inputs: int


def readers(layers: Sequence[LayerSpec], groups: Sequence[ChannelGroup]) -> list[tuple[Reads, ...]]:
    """Returns, per layer, the groups that decide its shape."""
    found: list[tuple[Reads, ...]] = []
    for layer in layers:
        host = layer.owner
        if layer.kind == "attention":  # its projections are linear layers once heads may go
            host = layer.name
        reads = []
        for group in groups:
            outputs = [m for m in group.by_role("out") if m.module == host]
            inputs = [m for m in group.by_role("in") if m.module == host]
            if outputs or inputs:
                reads.append(
                    Reads(
                        group.name,
                        len(outputs[0].channels[0]) if outputs else 0,
                        len(inputs[0].channels[0]) if inputs else 0,
                    )
                )
        found.append(tuple(reads))
    return found


def sliced_spec(layer: LayerSpec, reads: Sequence[Reads], gone: Mapping[str, int]) -> LayerSpec:
    """Returns the layer as it is after its groups have lost units.

    Args:
        layer: the layer of the dense network.
        reads: its groups.
        gone: group name -> how many units are gone.
    """
    less_out = sum(r.outputs * gone.get(r.group, 0) for r in reads)
    less_in = sum(r.inputs * gone.get(r.group, 0) for r in reads)
    if not less_out and not less_in:
        return layer
    shape = list(layer.shape)
    groups = layer.groups
    if groups > 1 and groups == layer.inputs == layer.outputs:  # depthwise: inputs are the outputs
        less = max(less_out, less_in)
        shape[0] -= less
        groups -= less
        less_out = less_in = less
    else:
        share_out = groups if layer.kind == "transposed" else 1
        share_in = 1 if layer.kind == "transposed" else groups
        shape[layer.out_axis] -= less_out // share_out
        shape[layer.in_axis] -= less_in // share_in
    small = replace(layer, shape=tuple(shape), groups=groups)
    return replace(
        small,
        macs=layer.macs // layer.n_weights * small.n_weights,
        input_shape=_less(layer, layer.input_shape, less_in),
        output_shape=_less(layer, layer.output_shape, less_out),
    )


def _less(layer: LayerSpec, shape: tuple[int, ...], less: int) -> tuple[int, ...]:
    if not shape:
        return shape
    axis = 0 if layer.kind in ("conv", "transposed") else len(shape) - 1
    return (*shape[:axis], shape[axis] - less, *shape[axis + 1 :])
