"""One scale for each output channel, where a layout has several rows for it."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.recovery.layout import Layout


def share(layout: Layout, values: Tensor, how: str) -> Tensor:
    """Gives rows that share a scale one value: slices of an output, groups of a transposed layer.

    Args:
        layout: the layer's.
        values: `(k, blocks, rows)`.
        how: "max" or "sum".
    """
    across = layout.layer.kind == "transposed" and layout.groups > 1
    if layout.slices == 1 and not across:
        return values
    shape = (len(values), layout.groups, layout.slices, layout.rows)
    axes = (1, 2) if across else (2,)
    values = values.reshape(shape)
    reduced = values.amax(axes, keepdim=True) if how == "max" else values.sum(axes, keepdim=True)
    return reduced.expand(shape).reshape(len(values), -1, layout.rows)


def to_channels(layout: Layout, values: Tensor) -> Tensor:
    """Returns shared `(blocks, rows)` values in the shape of a weight's scales, float32."""
    layer = layout.layer
    per_row = values.reshape(layout.groups, layout.slices, layout.rows)[:, 0].reshape(-1)
    shape = [1] * len(layer.shape)
    shape[layer.out_axis] = layer.shape[layer.out_axis]
    return per_row[: layer.shape[layer.out_axis]].reshape(shape).to(torch.float32)


def to_rows(layout: Layout, scale: Tensor) -> Tensor:
    """Returns a weight's scales as float64 `(blocks, rows, 1)`; inverse of `to_channels`."""
    flat = scale.reshape(-1).to(torch.float64)
    repeated = flat.repeat(layout.groups * layout.rows // len(flat))
    per_group = repeated.reshape(layout.groups, 1, layout.rows)
    return per_group.expand(-1, layout.slices, -1).reshape(-1, layout.rows, 1)
