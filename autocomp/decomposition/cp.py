"""Canonical polyadic form: channels are mixed only at both ends, depthwise kernels lie between."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.decomposition.axes import kernel_axes
from autocomp.decomposition.chain import fitted
from autocomp.decomposition.plain_layer import PlainLayer
from autocomp.decomposition.tensorly_backend import numpy_tensorly
from autocomp.recovery.gram import Gram

_ROUNDS = 60
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
    """Returns one `(size, rank)` factor a mode."""
    norm = float(weight.norm())
    if norm == 0:
        return [weight.new_zeros(size, rank) for size in weight.shape]
    with numpy_tensorly() as methods:
        found = methods.parafac(
            (weight / norm).numpy(), rank, n_iter_max=_ROUNDS, tol=_ENOUGH, l2_reg=_RIDGE,
            random_state=_SEED,
        )  # fmt: skip
    first, *rest = (torch.from_numpy(factor.copy()) for factor in found.factors)
    return [first * norm, *rest]


def _balanced(factors: list[Tensor]) -> list[Tensor]:
    """Gives all vectors of a component the same norm, so that no layer outgrows the others."""
    norms = torch.stack([factor.norm(dim=0) for factor in factors])
    if not bool((norms > 0).all()):
        return factors
    common = norms.log().mean(0).exp()
    return [factor * (common / norm) for factor, norm in zip(factors, norms, strict=True)]
