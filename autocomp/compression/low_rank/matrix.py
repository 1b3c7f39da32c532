"""Low rank of a weight seen as a matrix: of the weight itself, or of the outputs that it makes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from autocomp.compression.low_rank.chain import cross, fitted
from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.recovery.gram import Gram
from autocomp.errors import DataError


class Svd:
    """Two layers by the singular value decomposition of the weight.

    W = U S V^T as an `(outs, ins * kernel)` matrix; the first layer has the rows sqrt(S_r) V_r^T
    (the whole kernel, r channels), the second the columns U_r sqrt(S_r) (kernel 1). No other
    matrix of rank r is nearer to W (Eckart and Young 1936); for convolutions see Zhang et al. 2015
    (arXiv:1505.06798).
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a linear layer or a convolution without groups."""
        return layer.groups == 1

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns min(outs, ins * kernel)."""
        return min(layer.outs, layer.n_weights // layer.outs)

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns ins -> rank with the layer's kernel, then rank -> outs with kernel 1."""
        axes = range(len(layer.kernel))
        return layer.with_kernel(layer.ins, rank, axes), layer.pointwise(rank, layer.outs)

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(rank, ins, *kernel)` and `(outs, rank, 1...)`; `gram` plays no part."""
        left, rows = singular(weight.flatten(1))
        return _two(weight, left[:, :rank], rows[:rank])


class DataSvd:
    """Two layers whose outputs, not weights, are nearest to the layer's.

    E ||W x - W' x||^2 = tr((W - W') M (W - W')^T) with M = E[x x^T] (the covariance if the moments
    are centred, as the bias then takes up the rest). Its least value over W' of rank r is reached
    by W' = U_r U_r^T W, where U_r holds the first r eigenvectors of W M W^T; it is the sum of the
    other eigenvalues (reduced-rank regression: Izenman 1975). It is the singular value
    decomposition of W M^(1/2), but neither root nor inverse of M is needed. Where inputs were
    sliced, M is block-diagonal and the same holds for it.

    Directions of no output at all are ordered by the plain singular value decomposition, so that
    the full rank is the layer itself, also for inputs that calibration never saw.
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a linear layer or a convolution without groups."""
        return layer.groups == 1

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns min(outs, ins * kernel)."""
        return min(layer.outs, layer.n_weights // layer.outs)

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns ins -> rank with the layer's kernel, then rank -> outs with kernel 1."""
        return Svd().pieces(layer, rank)

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(rank, ins, *kernel)` and `(outs, rank, 1...)`; DataError without `gram`."""
        if gram is None:
            raise DataError(
                "`data-svd` needs the moments of the layer's inputs, but got none; give "
                "`input_moments(...)[layer]`, or take `svd`."
            )
        left, rows, _ = output_basis(weight, gram)
        return _two(weight, left[:, :rank], rows[:rank])


class SpatialSvd:
    """A k x l convolution as k x 1, then 1 x l, by one singular value decomposition.

    The kernel is seen as an `(ins * k, outs * l)` matrix (Jaderberg et al. 2014, arXiv:1405.3866;
    Tai et al. 2016, arXiv:1511.06067). With moments of the inputs the second layer is fitted to the
    outputs.
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a 2-d convolution without groups that is wider than 1 both ways."""
        return layer.groups == 1 and len(layer.kernel) == 2 and min(layer.kernel) > 1

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns min(ins * k, outs * l)."""
        return min(layer.ins * layer.kernel[0], layer.outs * layer.kernel[1])

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns ins -> rank along the first axis, then rank -> outs along the second."""
        return layer.with_kernel(layer.ins, rank, [0]), layer.with_kernel(rank, layer.outs, [1])

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(rank, ins, k, 1)` and `(outs, rank, 1, l)`."""
        outs, ins, height, width = weight.shape
        matrix = weight.permute(0, 3, 1, 2).reshape(outs * width, ins * height)
        left, rows = singular(matrix)
        second, first = _balanced(left[:, :rank], rows[:rank])
        chain = (
            first.reshape(rank, ins, height, 1),
            second.reshape(outs, width, rank).transpose(1, 2)[:, :, None],
        )
        return fitted(weight, chain, gram)


def singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (U, S V^T) of a matrix, largest singular value first.

    Each column of U has its largest entry positive, which settles the signs.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    signs = _signs(left)
    return left * signs, (signs * values)[:, None] * right


def output_basis(weight: Tensor, gram: Gram) -> tuple[Tensor, Tensor, Tensor]:
    """Returns an orthonormal basis of a layer's outputs, those with most of their energy first.

    Args:
        weight: float64 `(outs, ins, *kernel)`.
        gram: moments of its inputs.

    Returns:
        U `(outs, full)`; U^T W `(full, ins * kernel)`; the energies `(full,)`: mean squares of the
        outputs' components along U, falling.
    """

    def energy(rows: Tensor) -> Tensor:
        inner = rows.reshape(len(rows), *weight.shape[1:])
        return cross(inner, inner, gram)

    return energetic_basis(weight.flatten(1), energy)


def energetic_basis(
    matrix: Tensor, energy: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (U, U^T W, diagonal of U^T W M W^T U), the largest of the diagonal first.

    Args:
        matrix: W, `(outs, n)`.
        energy: gives R M R^T for rows R `(full, n)`.
    """
    # within the range of W, so that U U^T W = W at full rank whatever the inputs were
    left, rows = singular(matrix)
    inner = energy(rows)
    values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    heard = int((values > len(values) * torch.finfo(values.dtype).eps * values[0]).sum())
    if heard < len(values):
        silent = vectors[:, heard:]
        vectors = torch.cat([vectors[:, :heard], silent @ torch.linalg.svd(silent.T @ rows)[0]], 1)
    basis = left @ vectors
    signs = _signs(basis)
    return basis * signs, (vectors * signs).T @ rows, values.clamp(min=0)


def output_errors(weight: Tensor, gram: Gram) -> Tensor:
    """Returns the least mean squared error of a layer's outputs at every rank.

    Args:
        weight: `(outs, ins, *kernel)`.
        gram: moments of its inputs.

    Returns:
        float64 `(full rank + 1,)`, falling: entry r is the error of `data-svd` at rank r, that of
        no layer at all for r = 0. One decomposition gives all of them.
    """
    energy = output_basis(weight.detach().to("cpu", torch.float64), gram)[2]
    return torch.cat([energy.flip(0).cumsum(0).flip(0), energy.new_zeros(1)])


def _signs(left: Tensor) -> Tensor:
    largest = left.gather(0, left.abs().argmax(0, keepdim=True))[0]
    return torch.where(largest < 0, -1.0, 1.0).to(left.dtype)


def _two(weight: Tensor, left: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
    second, first = _balanced(left, rows)
    ones = (1,) * (weight.dim() - 2)
    return first.reshape(-1, *weight.shape[1:]), second.reshape(*second.shape, *ones)


def _balanced(left: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each channel between the layers the same norm on both sides.

    Neither side then outgrows a float16, and gradients of both have one scale.
    """
    scale = (rows.norm(dim=1) / left.norm(dim=0)).sqrt()
    scale = torch.where(scale > math.sqrt(torch.finfo(scale.dtype).tiny), scale, 1.0)
    return left * scale, rows / scale[:, None]
