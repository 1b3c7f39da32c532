"""LRP: how much of the score of the true class comes through each unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
)

Function = Callable[..., Any]
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def relevance() -> Propagation:
    """Returns a mode in which the backward pass carries relevance (LRP, Yeom et al. 2021).

    Convolutions and linear layers share what arrives among their inputs by positive contributions,

        R_i = sum_j (a_i w_ij)^+ / sum_k (a_k w_kj)^+  R_j

    (alpha 1, beta 0; the z+ rule for inputs that are not negative; arXiv:1912.08881). Biases get
    nothing, so the sum is kept, but for outputs to which nothing contributes. A batch norm straight
    after such a layer is folded into it: where its gain is negative, negative contributions count.
    Other norms, and activations, pass everything on. Sums and average pooling share by the values
    that have the sign of the result; max pooling gives all to the largest; attention gives all to
    the values, with the weights that it has on these inputs; of a product the larger tensor gets
    all (a gate gets nothing), and halves go to two of one size.
    """
    return Propagation("LRP", RULES)


def _weighted(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (x, weight, bias), (rest, others) = bind(("input", "weight", "bias"), args, kw)
    given, matrix = x.detach(), weight.detach()

    def op(p: Tensor, w: Tensor) -> Tensor:
        found: Tensor = func(p, w, None, *rest, **others)
        return found

    def back(arriving: Tensor) -> tuple[Tensor]:
        return (_positive(op, given, matrix, arriving),)

    def folded(scale: Tensor) -> tuple[Tensor, Any] | None:
        """Returns the input, and the backward pass with each output's weights times `scale`."""
        transposed = func.__name__ in _TRANSPOSED
        axis = 1 if transposed else 0
        counts_outputs = given.dim() == 2 or func.__name__ != "linear"
        if not counts_outputs or matrix.shape[axis] != len(scale):
            return None
        shape = [1] * matrix.dim()
        shape[axis] = -1
        scaled = matrix * scale.reshape(shape)
        return x, lambda arriving: (_positive(op, given, scaled, arriving),)

    made = carry(func(given, weight, bias, *rest, **others), back, x)
    mode.made[id(made)] = (made, folded)  # holds the tensor, so that its id stays its own
    return made


def _positive(op: Function, x: Tensor, weight: Tensor, arriving: Tensor) -> Tensor:
    """Shares what arrives by positive contributions of `x` and `weight`."""
    with torch.enable_grad():
        parts = [x.clamp(min=0).requires_grad_(), x.clamp(max=0).requires_grad_()]
        total = op(parts[0], weight.clamp(min=0)) + op(parts[1], weight.clamp(max=0))
        found = torch.autograd.grad(total, parts, _divided(arriving, total.detach()))
    return parts[0].detach() * found[0] + parts[1].detach() * found[1]


def _divided(above: Tensor, below: Tensor) -> Tensor:
    """Returns the ratio, and 0 where it has no denominator."""
    return torch.where(below == 0, torch.zeros_like(above), above / below)


def _batch_norm(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (x, _, _, gain), _ = bind(("input", "running_mean", "running_var", "weight"), args, kw)
    with torch.no_grad():
        value = func(*args, **kw)
    known = mode.made.get(id(x))
    if known is not None and gain is not None:
        found = known[1](gain.detach().sign())  # the sign is all that shares depend on
        if found is not None:
            return carry(value, found[1], found[0])
    return carry(value, lambda arriving: (arriving,), x)


def _norm(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    x = args[0] if args else kw["input"]
    with torch.no_grad():
        value = func(*args, **kw)
    return carry(value, lambda arriving: (arriving,), x)


def _averaged(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    """The rule of sums with weights that are not negative."""
    (x,), (rest, others) = bind(("input",), args, kw)
    return _shared(lambda p: func(p, *rest, **others), x)


def _shared(op: Function, x: Tensor) -> Tensor:
    """Shares among the values that have the sign of the result."""
    with torch.no_grad():
        value = op(x.detach())

    def back(arriving: Tensor) -> tuple[Tensor]:
        total = torch.zeros_like(x)
        for part, chosen in ((x.detach().clamp(min=0), value > 0),
                             (x.detach().clamp(max=0), value < 0)):  # fmt: skip
            with torch.enable_grad():
                point = part.requires_grad_()
                z = op(point)
                share = _divided(arriving * chosen, z.detach())
                total += part.detach() * torch.autograd.grad(z, point, share)[0]
        return (total,)

    return carry(value, back, x)


def _add(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    first, second, value = evaluate_pair(func, args, kw)
    factor = (-1.0 if "sub" in func.__name__ else 1.0) * kw.get("alpha", 1)
    terms = (
        [(second, 1.0), (first, factor)]
        if "rsub" in func.__name__
        else [(first, 1.0), (second, factor)]
    )
    carriers = [(t, f) for t, f in terms if isinstance(t, Tensor) and t.requires_grad]

    def back(arriving: Tensor) -> tuple[Tensor, ...]:
        same = [
            torch.where((t.detach() * f) * value > 0, t.detach() * f, torch.zeros_like(value))
            for t, f in carriers
        ]
        total = torch.stack(same).sum(0)
        if len(carriers) == 1:  # the other term is a constant, which gets nothing, like a bias
            return (arriving.sum_to_size(carriers[0][0].shape),)
        return tuple(
            (part * _divided(arriving, total)).sum_to_size(t.shape)
            for part, (t, _) in zip(same, carriers, strict=True)
        )

    return carry(value, back, *(t for t, _ in carriers))


def _product(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    *pair, value = evaluate_pair(func, args, kw)
    moving = [t for t in pair if isinstance(t, Tensor) and t.requires_grad]
    most = max(t.numel() for t in moving)
    signals = [t for t in moving if t.numel() == most]

    def back(arriving: Tensor) -> tuple[Tensor, ...]:
        return tuple((arriving / len(signals)).sum_to_size(t.shape) for t in signals)

    return carry(value, back, *signals)


def _attention(mode: Propagation, func: Function, args: tuple[Any, ...], kw: Arguments) -> Tensor:
    (query, key, value), (rest, others) = bind(("query", "key", "value"), args, kw)
    query, key = query.detach(), key.detach()
    return _shared(lambda p: func(query, key, p, *rest, **others), value)


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, pass_on),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear", *_TRANSPOSED), _weighted),
    **dict.fromkeys(AVERAGES, _averaged),
    **dict.fromkeys(SUMS, _add),
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm"), _norm),
    "batch_norm": _batch_norm,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": value_of_attention,
}  # fmt: skip
