"""The weights that best stand in for the ones that were removed."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.recovery.gram import Gram, has_own_systems

_ENOUGH = 1e-4
"""Share of the error that the last step of conjugate gradients may still have saved."""
_MOST = 60


def refit(gram: Gram, weights: Tensor, kept: Tensor) -> Tensor:
    """Returns the least-squares weights on a mask: w_S = (w H)_S (H_SS)^-1 for every row.

    It is where optimal-brain-surgeon elimination of the same weights ends. Rows of wide layers that
    keep weights of their own are solved by conjugate gradients, until a step saves less than 1e-4
    of the error.

    Args:
        gram: moments of the inputs.
        weights: float64 `(blocks, rows, width)`.
        kept: boolean, same shape.
    """
    if bool(kept.all()):
        return weights.clone()
    if bool((kept == kept[:, :1]).all()):
        return _on_one_mask(gram.hessian, weights, kept[:, 0])
    if not has_own_systems(kept):
        scale, hessian = to_unit_diagonal(gram.hessian)
        scaled = (weights * scale).to(torch.float32)
        return descend_on_mask(hessian, scaled, kept, scaled * kept).to(torch.float64) / scale
    wanted = weights @ gram.hessian
    fitted = torch.zeros_like(weights)
    for blocks, rows, factor in gram.pieces(kept):
        target = factor.gather(wanted[blocks, rows])
        solved = torch.cholesky_solve(target.transpose(1, 2), factor.lower).mT
        fitted[blocks, rows] = factor.scatter(solved)
    return fitted


def _on_one_mask(hessian: Tensor, weights: Tensor, kept: Tensor) -> Tensor:
    """Returns the fit where all rows of a block keep the same columns: one system a block."""
    fitted = torch.zeros_like(weights)
    for matrix, rows, columns, found in zip(hessian, weights, kept, fitted, strict=True):
        if bool(columns.any()):
            lower = torch.linalg.cholesky(matrix[columns][:, columns])
            wanted = (rows @ matrix[:, columns]).T
            found[:, columns] = torch.cholesky_solve(wanted, lower).T
    return fitted


def to_unit_diagonal(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `(blocks, 1, width)` factors for weights, and H for weights so scaled, in float32."""
    scale = hessian.diagonal(dim1=1, dim2=2).sqrt()[:, None, :]
    return scale, (hessian / scale.mT / scale).to(torch.float32)


def descend_on_mask(hessian: Tensor, weights: Tensor, kept: Tensor, start: Tensor) -> Tensor:
    """Lowers tr(D H D^T), D = v - w, over v that is zero off a mask, by conjugate gradients.

    Every row has its own step lengths; each step is one product with H. With H's diagonal at one,
    the gradient is its own preconditioning.

    Args:
        hessian: positive definite `(blocks, width, width)`, its diagonal one.
        weights: `(blocks, rows, width)`: w, of the same type.
        kept: boolean, same shape: where v may differ from zero.
        start: v to begin with, zero off the mask.

    Returns:
        v, once a step saves less than a ten-thousandth of the error.
    """
    mask = kept.to(weights.dtype)
    v = start.clone()
    pull = (weights - v) @ hessian
    error = float(((weights - v) * pull).sum())
    slope = pull * mask
    move, size = slope.clone(), slope.square().sum(-1)
    tiny = torch.finfo(weights.dtype).tiny
    for _ in range(_MOST):
        bent = (move @ hessian).mul_(mask)
        length = size / (move * bent).sum(-1).clamp(min=tiny)
        v.addcmul_(length[..., None], move)
        slope.addcmul_(length[..., None], bent, value=-1)
        saved = float((length * size).sum())
        error -= saved
        if saved <= _ENOUGH * max(error, 0.0) or not saved:
            break
        after = slope.square().sum(-1)
        move.mul_((after / size.clamp(min=tiny))[..., None]).add_(slope)
        size = after
    return v
