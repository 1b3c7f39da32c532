"""Rounding weights one column at a time, the others making up for each error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autocomp.compression.recovery.factor import Factor

_BLOCK = 32


def round_in_order(
    factor: Factor, weights: Tensor, kept: Tensor, scale: Tensor, top: Tensor
) -> tuple[Tensor, Tensor]:
    """Rounds columns from the last to the first with least-squares compensation (GPTQ).

    With H = L L^T and e = s q - w, tr(e H e^T) = sum_k (e_k L_kk + sum_{i>k} e_i L_ik)^2. Column k
    is given the code that makes its own term least: q_k = clip(round((w_k - sum_{i>k} e_i L_ik /
    L_kk) / s)). That is GPTQ (Frantar et al. 2023, arXiv:2210.17323) as Babai's nearest-plane
    algorithm; no inverse is needed. Earlier columns are updated in blocks. Columns stand first in
    memory while that is done, so that each of them is one stretch of it.

    Args:
        factor: the systems.
        weights: `(systems, m, n)`: what to round, gathered by `factor`.
        kept: boolean `(systems, m, n)` or `(systems, 1, n)`, gathered likewise: other codes are 0.
        scale: `(systems, m, 1)`: step of each row.
        top: `(systems, m, 1)`: largest code of each row; the least is its negative. 0 stands for
            one bit, whose codes are -1 and 1.

    Returns:
        Codes as floating-point `(systems, m, n)`, and the errors tr(e H e^T), `(systems, m)`.
    """
    lower = factor.lower.to(weights.dtype)
    n = weights.shape[2]
    step = scale[..., 0]
    wanted = (weights / scale).mT.contiguous()  # (systems, n, m), in steps like all that follows
    signs = _signs(top)
    high = (top.clamp(min=1) * kept).mT.contiguous()
    low = -high
    codes = torch.zeros_like(wanted)
    pushed = torch.zeros_like(wanted)  # sum of e_i L_ik over the columns that are done
    pivot = lower.diagonal(dim1=1, dim2=2)
    inverse_pivot = -1 / pivot
    total = torch.zeros_like(step)
    for end in range(n, 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        block = pushed[:, start:end].clone()
        errors = torch.empty_like(block)
        triangle = lower[:, start:end, start:end]
        for i in range(end - start - 1, -1, -1):
            k = start + i
            q = torch.addcmul(wanted[:, k], block[:, i], inverse_pivot[:, k, None], out=codes[:, k])
            _to_codes(q, signs)
            torch.clamp(q, low[:, k], high[:, k], out=q)
            error = torch.sub(q, wanted[:, k], out=errors[:, i])
            if i:
                block[:, :i].addcmul_(triangle[:, i, :i, None], error[:, None])
        block.addcmul_(errors, pivot[:, start:end, None])
        total += block.square_().sum(1)
        if start:
            pushed[:, :start].baddbmm_(lower[:, start:end, :start].mT, errors)
    return codes.mT, total * step.square()


def descend(
    hessian: Tensor, codes: Tensor, scale: Tensor, top: Tensor, weights: Tensor, kept: Tensor,
    sweeps: Sequence[int],
) -> Tensor:  # fmt: skip
    """Improves codes one column at a time until nothing moves: coordinate descent.

    For each column j the error tr(D H D^T), D = s q - w, is least at q_j - (D H)_j / (s H_jj); its
    rounded value is taken where the weight is kept (compare QuantEase, Behdin et al. 2023,
    arXiv:2309.01885). No step raises the error.

    Args:
        hessian: `(blocks, width, width)`.
        codes: `(blocks, rows, width)`, floating-point whole numbers.
        scale: `(blocks, rows, 1)`.
        top: `(blocks, rows, 1)`, the largest code; 0 for one bit.
        weights: `(blocks, rows, width)`: what the weight is compared with.
        kept: `(blocks, rows, width)` boolean; other codes stay 0.
        sweeps: for each pass over all columns, how many rows, from the first, take part.
    """
    if not sweeps:
        return codes.clone()
    hessian = hessian.to(codes.dtype)
    found = codes.mT.contiguous()  # (blocks, width, rows), as in `round_in_order`
    width = codes.shape[2]
    inverse = -1 / hessian.diagonal(dim1=1, dim2=2)
    n = sweeps[0]
    signs = _signs(top[:, :n])
    high = (top[:, :n].clamp(min=1) * kept[:, :n]).mT.contiguous()
    low = -high
    slope_of = hessian @ (found[..., :n] - (weights[:, :n] / scale[:, :n]).mT)  # in steps
    for n in sweeps:
        moved = False
        for start in range(0, width, _BLOCK):
            end = min(start + _BLOCK, width)
            slope = slope_of[:, start:end, :n].clone()
            moves = torch.empty_like(slope)
            square = hessian[:, start:end, start:end]
            for i in range(end - start):
                j = start + i
                before = found[:, j, :n]
                q = torch.addcmul(before, slope[:, i], inverse[:, j, None])
                _to_codes(q, None if signs is None else signs[:, :n])
                torch.clamp(q, low[:, j, :n], high[:, j, :n], out=q)
                move = torch.sub(q, before, out=moves[:, i])
                before.copy_(q)
                if i + 1 < end - start:
                    slope[:, i + 1 :].addcmul_(square[:, i, i + 1 :, None], move[:, None])
            if bool(moves.any()):
                moved = True
                slope_of[..., :n].baddbmm_(hessian[:, :, start:end], moves)
        if not moved:
            break
    return found.mT


def _signs(top: Tensor) -> Tensor | None:
    """Returns which rows have codes of one bit, `(systems, m)`; None if none has."""
    signs = top[..., 0] == 0
    return signs if bool(signs.any()) else None


def _to_codes(values: Tensor, signs: Tensor | None) -> None:
    """Rounds values of a column in place; those of one bit to -1 or 1."""
    if signs is None:
        values.round_()
    else:
        sign = torch.where(values < 0, -1.0, 1.0).to(values)
        values.copy_(torch.where(signs, sign, values.round()))
