"""Rounding weights one column at a time, the others making up for each error."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.recovery.factor import Factor

_BLOCK = 32


def round_in_order(factor: Factor, weights: Tensor, scale: Tensor, top: Tensor) -> Tensor:
    """Rounds columns from the last to the first with least-squares compensation (GPTQ).

    With H = L L^T and e = s q - w, tr(e H e^T) = sum_k (e_k L_kk + sum_{i>k} e_i L_ik)^2. Column k
    is given the code that makes its own term least: q_k = clip(round((w_k - sum_{i>k} e_i L_ik /
    L_kk) / s)). That is GPTQ (Frantar et al. 2023, arXiv:2210.17323) as Babai's nearest-plane
    algorithm; no inverse is needed. Earlier columns are updated in blocks.

    Args:
        factor: the systems.
        weights: `(systems, m, n)`: what to round, gathered by `factor`.
        scale: `(systems, m, 1)`: step of each row.
        top: `(systems, m, 1)`: largest code of each row; the least is its negative.

    Returns:
        Codes as floating-point `(systems, m, n)`, 0 in the padding.
    """
    lower = factor.lower.to(weights.dtype)
    n = weights.shape[2]
    codes = torch.zeros_like(weights)
    pushed = torch.zeros_like(weights)  # sum of e_i L_ik over the columns that are done
    inverse_pivot = 1 / lower.diagonal(dim1=1, dim2=2)
    step, inverse_step, high = scale[..., 0], 1 / scale[..., 0], top[..., 0]
    low = -high
    live = factor.valid.to(weights.dtype)
    for end in range(n, 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        block = pushed[:, :, start:end].clone()
        errors = torch.zeros_like(block)
        triangle = lower[:, start:end, start:end]
        for i in range(end - start - 1, -1, -1):
            k = start + i
            weight = weights[:, :, k]
            wanted = weight - block[:, :, i] * inverse_pivot[:, k, None]
            q = (wanted * inverse_step).round_()
            q = torch.minimum(torch.maximum(q, low, out=q), high, out=q).mul_(live[:, k, None])
            codes[:, :, k] = q
            error = q.mul(step).sub_(weight)
            errors[:, :, i] = error
            if i:
                block[:, :, :i].addcmul_(error[:, :, None], triangle[:, None, i, :i])
        if start:
            pushed[:, :, :start] += errors @ lower[:, start:end, :start]
    return codes


def descend(
    hessian: Tensor, codes: Tensor, scale: Tensor, top: Tensor, weights: Tensor, kept: Tensor,
    sweeps: int,
) -> Tensor:  # fmt: skip
    """Improves codes one column at a time until nothing moves: coordinate descent.

    For each column j the error tr(D H D^T), D = s q - w, is least at q_j = (s q_j - (D H)_j / H_jj)
    / s; its rounded value is taken where the weight is kept (compare QuantEase, Behdin et al. 2023,
    arXiv:2309.01885). No step raises the error.

    Args:
        hessian: `(blocks, width, width)`.
        codes: `(blocks, rows, width)`, floating-point whole numbers.
        scale: `(blocks, rows, 1)`.
        top: `(blocks, rows, 1)`, the largest code.
        weights: `(blocks, rows, width)`: what the weight is compared with.
        kept: `(blocks, rows, width)` boolean; other codes stay 0.
        sweeps: passes over all columns.
    """
    hessian = hessian.to(codes.dtype)
    codes = codes.clone()
    difference = codes * scale - weights
    gradient = difference @ hessian
    width = codes.shape[2]
    step, high = scale[..., 0], top[..., 0]
    keep = kept.to(codes.dtype)
    inverse = 1 / hessian.diagonal(dim1=1, dim2=2)
    for _ in range(sweeps):
        moved = False
        for start in range(0, width, _BLOCK):
            end = min(start + _BLOCK, width)
            slope = gradient[:, :, start:end].clone()
            moves = torch.zeros_like(slope)
            square = hessian[:, start:end, start:end]
            for i in range(end - start):
                j = start + i
                before = codes[:, :, j]
                wanted = before - slope[:, :, i] * inverse[:, None, j] / step
                q = torch.minimum(torch.maximum(wanted.round_(), -high), high) * keep[:, :, j]
                move = (q - before) * step
                codes[:, :, j] = q
                moves[:, :, i] = move
                slope.addcmul_(move[:, :, None], square[:, None, i])
            if bool(moves.any()):
                moved = True
                gradient.baddbmm_(moves, hessian[:, start:end])
        if not moved:
            break
    return codes
