"""Canonical polyadic form: channels are mixed only at both ends, depthwise kernels lie between."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from autocomp.compression.low_rank.axes import kernel_axes
from autocomp.compression.low_rank.chain import fitted
from autocomp.compression.low_rank.matrix import singular
from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.recovery.gram import Gram

_ROUNDS = 100
_ENOUGH = 1e-5
"""Alternation ends when a round lowers the relative error by less."""
_RIDGE = 1e-9
_SEED = 0


class Cp:
    """1 x 1, one depthwise layer for each kernel axis, 1 x 1.

    W ~ sum_r a_r (outputs) x b_r (inputs) x one vector for each axis (Lebedev et al. 2015,
    arXiv:1412.6553), by alternating least squares. Axes of kernel size 1 get no layer of their own;
    the first depthwise layer takes their stride and padding. The error need not be zero at the full
    rank, nor is the best one found; a seed makes it the same each time. With moments of the
    inputs the last layer is fitted to the outputs.
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a convolution without groups and a kernel above 1."""
        return layer.groups == 1 and any(k > 1 for k in layer.kernel)

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns a rank that always suffices: the number of weights over the largest axis."""
        return layer.n_weights // max(layer.weight_shape)

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns 1 x 1, depthwise layers, 1 x 1."""
        return (
            layer.pointwise(layer.ins, rank),
            *(layer.with_kernel(rank, rank, axes, rank) for axes in kernel_axes(layer.kernel)),
            layer.pointwise(rank, layer.outs),
        )

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(rank, ins, 1...)`, one `(rank, 1, ..k..)` an axis, `(outs, rank, 1...)`."""
        outs, ins, *kernel = weight.shape
        wide = [k for k in kernel if k > 1]
        left, right, *along = _balanced(_alternate(weight.reshape(outs, ins, *wide), rank))
        ones = (1,) * len(kernel)
        chain = [right.T.reshape(rank, ins, *ones)]
        for axes, vectors in zip(kernel_axes(tuple(kernel)), along, strict=True):
            shape = [kernel[axis] if axis in axes else 1 for axis in range(len(kernel))]
            chain.append(vectors.T.reshape(rank, 1, *shape))
        chain.append(left.reshape(outs, rank, *ones))
        return fitted(weight, tuple(x.contiguous() for x in chain), gram)


def _alternate(weight: Tensor, rank: int) -> list[Tensor]:
    """Returns one `(size, rank)` factor a mode: outputs, inputs, then kernel axes.

    What `tensorly.decomposition.parafac` computes, with two products of matrices a round instead of
    one Khatri-Rao product a mode: some 20 times as fast at 256 channels and rank 569.
    """
    norm = weight.norm()
    if norm == 0:
        return [weight.new_zeros(size, rank) for size in weight.shape]
    unit = weight / norm
    factors = _start(unit, rank)
    # (positions, outs, ins)
    places = unit.flatten(2).permute(2, 0, 1).contiguous()
    error = 1.0
    for _ in range(_ROUNDS):
        along = _products(factors[2:])[:, None]
        factors[0] = _solved(((places @ factors[1]) * along).sum(0), factors, 0)
        heard = places.mT @ factors[0]
        factors[1] = _solved((heard * along).sum(0), factors, 1)
        found = (heard * factors[1]).sum(1).reshape(*weight.shape[2:], rank)
        for mode in range(2, weight.dim()):
            others = [x for i, x in enumerate(factors[2:], 2) if i != mode]
            gathered = found.movedim(mode - 2, -1).reshape(-1, rank, weight.shape[mode])
            fit = (gathered * _products(others, rank)[:, :, None]).sum(0).T
            factors[mode] = _solved(fit, factors, mode)
        # |W - W'|^2 = |W|^2 - 2 <W, W'> + |W'|^2
        inner, square = (fit * factors[-1]).sum(), (_gram(factors, -1) * _square(factors[-1])).sum()
        before, error = error, float((1 - 2 * inner + square).clamp(min=0).sqrt())
        if abs(before - error) < _ENOUGH:
            break
    return [factors[0] * norm, *factors[1:]]


def _start(weight: Tensor, rank: int) -> list[Tensor]:
    """Returns each mode's first left singular vectors; those beyond its size are random."""
    generator = np.random.RandomState(_SEED)
    factors = []
    for mode, size in enumerate(weight.shape):
        left, rows = singular(weight.movedim(mode, 0).flatten(1))
        start = (left if mode else left * rows.norm(dim=1))[:, :rank]
        filler = generator.random_sample((size, rank - start.shape[1]))
        factors.append(torch.cat([start, torch.from_numpy(filler)], 1))
    return factors


def _square(factor: Tensor) -> Tensor:
    return factor.T @ factor


def _gram(factors: list[Tensor], mode: int) -> Tensor:
    """Returns the product, entry by entry, of the other factors' Gram matrices."""
    mode %= len(factors)
    return reduce(torch.mul, [_square(x) for i, x in enumerate(factors) if i != mode])


def _solved(target: Tensor, factors: list[Tensor], mode: int) -> Tensor:
    matrix = _gram(factors, mode)
    matrix.diagonal().add_(_RIDGE)
    found: Tensor = torch.linalg.solve(matrix, target.T).T
    return found


def _products(factors: list[Tensor], rank: int = 0) -> Tensor:
    """Returns `(positions, rank)`: products of one entry of each factor, the last one fastest."""
    if not factors:
        return torch.ones(1, rank, dtype=torch.float64)
    return reduce(lambda a, b: (a[:, None] * b).flatten(0, 1), factors)


def _balanced(factors: list[Tensor]) -> list[Tensor]:
    """Gives all vectors of a component the same norm, so that no layer outgrows the others."""
    norms = torch.stack([factor.norm(dim=0) for factor in factors])
    if not bool((norms > 0).all()):
        return factors
    common = norms.log().mean(0).exp()
    return [factor * (common / norm) for factor, norm in zip(factors, norms, strict=True)]
