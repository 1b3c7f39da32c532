"""What a network costs, before any search."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autocomp.api.inputs import example_for, network_for
from autocomp.core.structured import Inputs
from autocomp.errors import AutocompError
from autocomp.inspection.measurement import Measurement, measure_network
from autocomp.plugins.border import border
from autocomp.storage.paths import user_path


@border("autocomp.measure")
def measure(
    model: str | PathLike[str] | nn.Module | Callable[..., nn.Module],
    *,
    weights: str | Path = "",
    data: Any = None,
    input: str | tuple[int, ...] | Tensor | None = None,  # noqa: A002 - as on the command line
    keep: Iterable[str] = (),
    latency: bool = True,
    device_table: str | Path | None = None,
) -> Measurement:
    """Returns what a network costs, layer by layer; nothing about it is changed.

    Args:
        model: a network, a name, an import path, a function that builds it, or a compressed file.
        weights: weights file; not needed to measure.
        data: data as for `autocomp.search`, which give the inputs' shape.
        input: or the shape of one input, as `(3, 32, 32)` or "3x32x32", or a batch of inputs.
        keep: names of layers to leave alone.
        latency: whether to measure time, in onnxruntime.
        device_table: file to write this machine's times of the network's layers to, for latency
            budgets of searches elsewhere (`search(..., device_table=FILE)`); takes minutes.

    Raises:
        AutocompError: in one line, for anything wrong with the input.
    """
    network = network_for(model, str(weights))
    if isinstance(input, Tensor):
        if not len(input):
            raise AutocompError("`input` must hold an example, but the batch is empty; give one.")
        example: Inputs = input
    else:
        example = example_for(network, None if data == "" else data, _shape_text(input))
    keep = (keep,) if isinstance(keep, str) else keep
    return measure_network(
        network, example, keep, latency=latency,
        device_table=None if device_table is None else user_path(device_table, "device_table"),
    )  # fmt: skip


def _shape_text(shape: Any) -> str:
    """Returns the shape of an input as "3x32x32"; "" for None."""
    if shape is None or isinstance(shape, str):
        return shape or ""
    if isinstance(shape, tuple | list) and all(isinstance(size, int) for size in shape):
        return "x".join(map(str, shape))
    raise AutocompError(
        f"`input` must be a shape, as (3, 32, 32), or a tensor, but got {shape!r:.60}; give one."
    )
