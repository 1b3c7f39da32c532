"""Layers of every kind, small, as specifications and with weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.core.layer_spec import LayerSpec

KINDS: dict[str, tuple[str, tuple[int, ...], int]] = {
    "conv": ("conv", (6, 8, 3, 3), 1),
    "conv1d": ("conv", (4, 6, 5), 1),
    "conv3d": ("conv", (4, 4, 2, 2, 2), 1),
    "grouped": ("conv", (8, 2, 3, 3), 4),
    "depthwise": ("conv", (8, 1, 3, 3), 8),
    "transposed": ("transposed", (8, 3, 3, 3), 2),
    "linear": ("linear", (5, 22), 1),
    "embedding": ("embedding", (12, 8), 1),
    "attention": ("attention", (24, 8), 1),
    "one output": ("linear", (1, 9), 1),
}
"""Name -> kind, shape of the weight, and groups."""


def layer_spec(name: str = "l", shape: tuple[int, ...] = (16, 8, 3, 3), **more: Any) -> LayerSpec:
    """Returns a layer, a convolution unless told otherwise."""
    values: dict[str, Any] = {
        "name": name, "parameter": f"{name}.weight", "kind": "conv", "shape": shape,
        "out_axis": 0, "in_axis": 1, "groups": 1, "stride": 1, "macs": 100, "calls": 1,
        "quantizable_input": True, "bias": False,
    }  # fmt: skip
    return LayerSpec(**{**values, **more})


LAYERS = (
    layer_spec(),
    layer_spec("tiny", (4, 1, 3, 3), groups=4),
    layer_spec("embedding", (50, 6), kind="embedding", quantizable_input=False),
    layer_spec("two", (2, 2), kind="linear"),
    layer_spec("leader", units=16),
    layer_spec("heads", (36, 12), kind="linear", units=3),
    layer_spec("stepped", units=20, unit_step=8),
    layer_spec("low rank", full_rank=7, units=4),
)
"""Layers as a search space meets them: some lead units, some can lose rank, some are tiny."""


def statistics_of(which: str | tuple[int, ...]) -> LayerStatistics:
    """Returns what is known of a layer of `KINDS`, or of a linear one of a shape: no inputs."""
    kind, shape, groups = KINDS[which] if isinstance(which, str) else ("linear", which, 1)
    axes = {"out_axis": 1, "in_axis": 0} if kind == "transposed" else {}
    return LayerStatistics(layer_spec("a", shape, kind=kind, groups=groups, **axes))


def weight_of(
    statistics: LayerStatistics, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Tensor:
    """Returns bell-shaped weights, one outlier, some exact zeros and some equal magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(statistics.layer.shape, generator=generator, dtype=torch.float64)
    flat = weight.view(-1)
    flat[0] *= 4
    flat[1::7] = 0
    flat[2::7] = 0.5
    flat[3::14] = -0.5
    return weight.to(dtype)
