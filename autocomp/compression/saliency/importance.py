"""NISP: how much of the network's responses hangs on each unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.compression.saliency.attention import value_of_attention
from autocomp.compression.saliency.propagation import (
    AVERAGES,
    ELEMENTWISE,
    PRODUCTS,
    SUMS,
    Arguments,
    Propagation,
    Rule,
    bind,
    carry,
    evaluate_pair,
    pass_on,
    pull_back,
)
from autocomp.errors import LayerError

Function = Callable[..., Any]
_BATCH_NORM = (
    "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
)  # fmt: skip


def importance() -> Propagation:
    """Returns a mode in which the backward pass carries importance (NISP, arXiv:1711.05908).

    What arrives is multiplied by the absolute weights, `s_k = |W_{k+1}|^T s_{k+1}` (Yu et al.
    2018), also for convolutions. Batch norms and layer norms multiply by `|gain| / sqrt(var +
    eps)`; activations pass everything on; average pooling and additions are what they are; max
    pooling shares evenly over its window, as any place may hold the maximum; attention mixes the
    values with the weights that it has on these inputs; products with another tensor multiply by
    its absolute value.
    """
    return Propagation("NISP", RULES)


def _weighted(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (x, weight, bias), (rest, others) = bind(("input", "weight", "bias"), args, kw)

    def back(arriving: Tensor) -> tuple[Tensor]:
        size = weight.detach().abs()
        return (pull_back(lambda p: func(p, size, None, *rest, **others), x, arriving),)

    return carry(func(x.detach(), weight, bias, *rest, **others), back, x)


def _batch_norm(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    values, _ = bind(_BATCH_NORM, args, kw)
    x, variance, gain = values[0], values[2], values[3]
    eps = 1e-5 if values[7] is None else values[7]
    if variance is None or values[5]:  # it normalises with the batch
        variance = x.detach().transpose(0, 1).flatten(1).var(1, unbiased=False)
    scale = (variance + eps).rsqrt()
    if gain is not None:
        scale = scale * gain.detach().abs()
    shape = (1, -1, *[1] * (x.dim() - 2))
    with torch.no_grad():
        value = func(*args, **kw)
    return carry(value, lambda arriving: (arriving * scale.reshape(shape),), x)


def _layer_norm(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (x, shape, gain, bias, eps), _ = bind(
        ("input", "normalized_shape", "weight", "bias", "eps"), args, kw
    )
    with torch.no_grad():
        value = func(*args, **kw)
        dims = tuple(range(-len(shape), 0))
        scale = (x.var(dims, unbiased=False, keepdim=True) + (eps or 1e-5)).rsqrt()
        if gain is not None:
            scale = scale * gain.abs()
    return carry(value, lambda arriving: (arriving * scale,), x)


def _native(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Any:
    """The rule of sums with weights that are not negative: autograd's own."""
    return func(*args, **kw)


def _add(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Any:
    """The rule of sums and differences: every term gets what arrives."""
    first, second, value = evaluate_pair(func, args, kw)
    size = abs(kw.get("alpha", 1))
    moving = [
        (t, factor)
        for t, factor in ((first, 1), (second, size))
        if isinstance(t, Tensor) and t.requires_grad
    ]

    def back(arriving: Tensor) -> tuple[Tensor, ...]:
        return tuple((arriving * factor).sum_to_size(t.shape) for t, factor in moving)

    return carry(value, back, *(t for t, _ in moving))


def _product(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Any:
    """The rule of products: each factor gets what arrives times the size of the other."""
    *pair, value = evaluate_pair(func, args, kw)
    sizes = [torch.as_tensor(t, device=value.device).detach().abs() for t in pair]
    moving = [k for k, t in enumerate(pair) if isinstance(t, Tensor) and t.requires_grad]
    divides = "div" in func.__name__
    if divides and 1 in moving:
        raise LayerError(
            "NISP has no rule for a division by something computed; use another criterion, such "
            "as taylor, for this network."
        )

    def back(arriving: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            (arriving / sizes[1] if divides else arriving * sizes[1 - k]).sum_to_size(
                sizes[k].shape
            )
            for k in moving
        )

    return carry(value, back, *(pair[k] for k in moving))


def _max_pool(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    (x, kernel, stride, padding, dilation, ceil), _ = bind(names, args, kw)
    if dilation not in (None, 1) and set(_several(dilation)) != {1}:
        raise LayerError(
            f"NISP spreads max pooling evenly for dilation 1 only, but got {dilation}; use another "
            "criterion, such as taylor, for this network."
        )
    dims = int(func.__name__[8])
    average: Function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]

    def back(arriving: Tensor) -> tuple[Tensor]:
        def mean(p: Tensor) -> Tensor:
            found: Tensor = average(
                p, kernel, stride or kernel, padding or 0, bool(ceil), count_include_pad=False
            )
            return found

        return (pull_back(mean, x, arriving),)

    with torch.no_grad():
        value = func(*args, **kw)
    return carry(value, back, x)


def _adaptive_max(
    mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments
) -> Tensor:
    (x, size), _ = bind(("input", "output_size"), args, kw)
    average: Function = getattr(F, func.__name__.replace("max", "avg"))
    with torch.no_grad():
        value = func(*args, **kw)
    return carry(value, lambda r: (pull_back(lambda p: average(p, size), x, r),), x)


def _attention(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (query, key, value), (rest, others) = bind(("query", "key", "value"), args, kw)
    mixed: Tensor = func(query.detach(), key.detach(), value, *rest, **others)
    return mixed


def _several(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),)


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, pass_on),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
         "conv_transpose3d", "linear"),
        _weighted,
    ),
    **dict.fromkeys(AVERAGES, _native),
    **dict.fromkeys(SUMS, _add),
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _max_pool),
    **dict.fromkeys(
        ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive_max
    ),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": value_of_attention,
}  # fmt: skip
