"""A layer's inputs as the vectors that its weight's rows multiply."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.recovery.recurrent import recurrent_inputs
from autocomp.core.layer_spec import LayerSpec

CHUNK = 1 << 25
"""Numbers that are unfolded at a time."""


class Lines:
    """Draws lines of output positions of a convolution that has more of them than are wanted.

    Other ones in each call, borders as often as they come; always the same in the same order.

    Args:
        most: output positions of an example that are wanted.
    """

    def __init__(self, most: float = math.inf) -> None:
        self._most = most
        self._generator = torch.Generator().manual_seed(0)

    def drawn(self, positions: Sequence[int]) -> Tensor | None:
        """Returns places on the first axis of the positions; None for all of them."""
        lines, count = positions[0], math.prod(positions)
        wanted = max(1, math.ceil(lines * min(1.0, self._most / max(1, count))))
        if wanted >= lines:
            return None
        return torch.randperm(lines, generator=self._generator)[:wanted].sort().values


def unfolded(
    layer: LayerSpec, module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any],
    lines: Lines | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Yields `(groups, n, d)` tensors: for every output position, the d inputs of one group.

    With them each output of the layer is `x @ rows.T + bias`, `rows` being the weight as
    `Layout.split` orders it. Large inputs come in several pieces.

    Args:
        layer: the layer.
        module: the module that is called.
        inputs: its positional arguments.
        kwargs: its keyword arguments.
        lines: draws output positions of convolutions; all of them by default.
    """
    if layer.kind == "attention":
        yield from _projection_inputs(layer, module, inputs, kwargs)
        return
    if layer.kind == "recurrent":
        yield from recurrent_inputs(layer.parameter.rpartition(".")[2], module, inputs, kwargs)
        return
    x = next(iter((*inputs, *kwargs.values())), None)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return
    if layer.kind in ("linear", "matrix"):
        yield x.reshape(1, -1, x.shape[-1])
        return
    assert isinstance(module, (nn.modules.conv._ConvNd,))
    if x.dim() == len(module.kernel_size) + 1:
        x = x[None]  # a single example without a batch axis
    x = _spread(x, module) if layer.kind == "transposed" else _padded(x, module)
    per_image = x[0].numel() * max(1, layer.kernel)
    step = max(1, CHUNK // per_image)
    for start in range(0, len(x), step):
        yield _windows(
            x[start : start + step], module, layer.kind == "transposed", lines or Lines()
        )


def _padded(x: Tensor, module: Any) -> Tensor:
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, module._reversed_padding_repeated_twice, mode=mode)


def _spread(x: Tensor, module: Any) -> Tensor:
    """Puts zeros between the inputs: a transposed convolution is a plain one on the result."""
    for axis, stride in enumerate(module.stride, start=2):
        if stride > 1:
            zeros = torch.zeros_like(x).unsqueeze(axis + 1)
            zeros = zeros.expand(*x.shape[: axis + 1], stride - 1, *x.shape[axis + 1 :])
            x = torch.cat([x.unsqueeze(axis + 1), zeros], axis + 1).flatten(axis, axis + 1)
            x = x.narrow(axis, 0, x.shape[axis] - (stride - 1))
    pads: list[int] = []
    for k, d, p, extra in zip(
        module.kernel_size, module.dilation, module.padding, module.output_padding, strict=True
    ):
        edge = d * (k - 1) - p
        pads = [edge, edge + extra, *pads]
    return F.pad(x, pads)


def _windows(x: Tensor, module: Any, transposed: bool, lines: Lines) -> Tensor:
    spatial, g = len(module.kernel_size), module.groups
    strides = (1,) * spatial if transposed else module.stride
    n, channels = x.shape[:2]
    # channels last: what is copied then lies side by side
    x = x.reshape(n, g, channels // g, *x.shape[2:]).movedim(2, -1).contiguous()
    for axis in range(spatial):
        reach = module.dilation[axis] * (module.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, reach, strides[axis])[..., :: module.dilation[axis]]
    chosen = lines.drawn(x.shape[2 : 2 + spatial])
    if chosen is not None:  # of a view: only these lines are copied
        x = x.index_select(2, chosen.to(x.device))
    # (n, g, positions..., channels, kernel...) -> (g, n, positions..., kernel..., channels)
    x = x.movedim(2 + spatial, -1).transpose(0, 1)
    if transposed:  # the plain convolution's kernel is the mirrored one
        x = x.flip([-2 - axis for axis in range(spatial)])
    return x.reshape(g, -1, channels // g * math.prod(module.kernel_size))


def _projection_inputs(
    layer: LayerSpec, module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Tensor]:
    part = layer.name.rpartition(".")[2]
    given = {**dict(zip(("query", "key", "value"), inputs, strict=False)), **kwargs}
    names = {"in_proj": ("query", "key", "value"), "q_proj": ("query",), "k_proj": ("key",),
             "v_proj": ("value",)}  # fmt: skip
    if part == "out_proj":
        context = _context(module, inputs, kwargs)
        yield context.reshape(1, -1, context.shape[-1])
        return
    found = [given[name].reshape(-1, given[name].shape[-1]) for name in names[part]]
    if len({len(x) for x in found}) == 1:
        yield torch.stack(found)


def _context(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Returns what an attention module's output projection multiplies.

    The projection is no module call of its own; with the identity in its place the module returns
    its input.
    """
    projection = module.out_proj
    weight, bias = projection.weight, projection.bias
    try:
        eye = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        projection.weight = nn.Parameter(eye, requires_grad=False)
        if bias is not None:
            projection.bias = nn.Parameter(torch.zeros_like(bias), requires_grad=False)
        output: Tensor = nn.MultiheadAttention.forward(module, *inputs, **kwargs)[0]
        return output
    finally:
        projection.weight, projection.bias = weight, bias
