"""The one weight that a chain of plain layers is equal to, and its last layer fitted to data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram
from autocomp.errors import LayerError

_RIDGE = 1e-9
"""Share of the mean diagonal that keeps the last layer's system solvable."""


def composed_weight(chain: nn.Sequential) -> Tensor:
    """Returns the weight of the single layer that a chain is equal to, in float64 on the CPU.

    Args:
        chain: what `decompose` returned: linear layers, or convolutions of which no two have a
            kernel along the same axis.

    Raises:
        LayerError: if two of them have; their product is no product of kernel positions.
    """
    return compose([layer.weight.detach().to("cpu", torch.float64) for layer in chain])  # type: ignore[operator]


def compose(factors: Sequence[Tensor]) -> Tensor:
    """Returns the product of the layers' weights, first to last: `(outs, ins, *kernel)`.

    At every kernel position it is a product of matrices, as each axis belongs to one layer. A
    grouped weight counts as the block-diagonal one.
    """
    return reduce(_after, factors)


def fitted(weight: Tensor, factors: tuple[Tensor, ...], gram: Gram | None) -> tuple[Tensor, ...]:
    """Returns the factors with the last one moved to where the outputs' error is least.

    With B the product of the others, it minimises tr((W - A B) G (W - A B)^T) over A by
    A += (W - A B) G B^T (B G B^T + d I)^-1, so that a chain without error stays as it is, and none
    gets worse.

    Args:
        weight: what the chain stands for, `(outs, ins, *kernel)`.
        factors: its weights.
        gram: moments of the layer's inputs; None leaves the factors as they are.
    """
    if gram is None:
        return factors
    last = factors[-1]
    inner = spread(compose(factors[:-1]), last.shape[2:])
    moved = regression(weight - compose(factors), inner, gram)
    return (*factors[:-1], last + moved.reshape(last.shape))


def spread(inner: Tensor, kernel: Sequence[int]) -> Tensor:
    """Returns what each weight of a layer behind `inner` multiplies: one row a weight.

    Args:
        inner: `(n, ins, *k)`, of size 1 on each axis along which the layer behind has a kernel.
        kernel: that layer's kernel.

    Returns:
        `(n * positions, ins, *kernels)`: row (i, p) is row i of `inner` put at position p.
    """
    positions = math.prod(kernel)
    places = torch.eye(positions, dtype=inner.dtype).reshape(positions, 1, *kernel)
    return (inner[:, None] * places).flatten(0, 1)


def regression(target: Tensor, inner: Tensor, gram: Gram) -> Tensor:
    """Returns the A for which A B is nearest to T in the outputs: T G B^T (B G B^T + d I)^-1.

    Args:
        target: T, `(m, ins, *kernel)`.
        inner: B, `(n, ins, *kernel)`.
        gram: moments of the inputs.

    Returns:
        float64 `(m, n)`; zero where nothing ever came in.
    """
    metric = cross(inner, inner, gram)
    ridge = _RIDGE * float(metric.diagonal().mean())
    if ridge <= 0:
        return target.new_zeros(len(target), len(inner))
    metric.diagonal().add_(ridge)
    found: Tensor = torch.linalg.solve(metric, cross(inner, target, gram)).mT
    return found


def cross(left: Tensor, right: Tensor, gram: Gram) -> Tensor:
    """Returns L M R^T, where M is the (block-diagonal) matrix that measures output errors.

    Args:
        left: `(n, ins, *kernel)`.
        right: `(m, ins, *kernel)`.
        gram: moments of the layer's inputs.

    Returns:
        A float64 `(n, m)` matrix.
    """
    first, second = (_columns(x, gram) for x in (left, right))
    return (first @ gram.moment @ second.mT).sum(0)


def _columns(weight: Tensor, gram: Gram) -> Tensor:
    """Returns `(blocks, n, width)`: columns over kernel positions, over channels within each."""
    rows = len(weight)
    kernel_major = weight.reshape(rows, weight.shape[1], -1).transpose(1, 2)
    return gram.layout.cut(kernel_major.reshape(1, rows, -1))


def channel_moment(gram: Gram) -> Tensor:
    """Returns `(ins, ins)`: the measuring matrix of one input position, averaged over the kernel.

    Pairs of channels that sliced inputs keep apart count as uncorrelated.
    """
    layout = gram.layout
    ins = layout.inputs // layout.kernel
    total = torch.zeros(ins, ins, dtype=gram.moment.dtype)
    for block, moment in enumerate(gram.moment):
        start = block * layout.width
        for place in range(layout.kernel):
            low = max(start, place * ins)
            high = min(start + layout.width, (place + 1) * ins)
            if low < high:
                inside, channels = (
                    slice(low - start, high - start),
                    slice(low - place * ins, high - place * ins),
                )
                total[channels, channels] += moment[inside, inside]
    return total / layout.kernel


def _after(first: Tensor, second: Tensor) -> Tensor:
    """Returns the product of two layers' weights, `second` coming after `first`."""
    second = _ungrouped(second, len(first))
    if any(a > 1 and b > 1 for a, b in zip(first.shape[2:], second.shape[2:], strict=True)):
        raise LayerError(
            "Two layers of a chain must not have a kernel along the same axis, but got "
            f"{tuple(first.shape[2:])} and {tuple(second.shape[2:])}; give what `decompose` "
            "returned."
        )
    # positions first; an axis of size 1 is repeated along the other layer's kernel
    product = second.movedim((0, 1), (-2, -1)) @ first.movedim((0, 1), (-2, -1))
    return product.movedim((-2, -1), (0, 1))


def _ungrouped(weight: Tensor, ins: int) -> Tensor:
    groups = ins // weight.shape[1]
    if groups == 1:
        return weight
    rows, columns = len(weight) // groups, weight.shape[1]
    whole = weight.new_zeros(len(weight), ins, *weight.shape[2:])
    for g in range(groups):
        here = slice(g * rows, (g + 1) * rows)
        whole[here, g * columns : (g + 1) * columns] = weight[here]
    return whole
