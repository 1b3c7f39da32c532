"""Least-squares fits with a given number of zeros, of all rows at once, for wide layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autocomp.compression.recovery.elimination import Groups
from autocomp.compression.recovery.least_squares import descend_on_mask, to_unit_diagonal

_PENALTIES = (0.1, 0.2, 0.4, 0.8)
"""Pulls towards the mask, one stage each; moments are scaled to a diagonal of one."""
_STEPS = 6
"""Steps of a stage."""


class SparseFit:
    """The weights with a given number of zeros that change a layer's outputs least.

    min tr(D H D^T), D = V - W, with at most k weights of V not zero, by the alternating direction
    method of multipliers (ALPS, Meng et al. 2024, arXiv:2406.07831): V' = W + p (Z - U - W) (H + p
    I)^-1; Z = the k largest of V' + U; U = V' + U - Z; then conjugate gradients on the mask. Every
    step is a product of the weights with one shared matrix, O(rows * width^2), where elimination
    takes O(rows * width^3). A sparsity's result does not depend on what else was asked for.

    Args:
        hessian: positive definite `(blocks, width, width)`.
        weights: `(blocks, rows, width)`.
        valid: boolean `(blocks, 1, width)`: False where a column is padding.
    """

    def __init__(self, hessian: Tensor, weights: Tensor, valid: Tensor) -> None:
        self._scale, self._hessian = to_unit_diagonal(hessian)
        self._weights = (weights * self._scale).to(torch.float32)
        self._valid = valid.expand_as(weights)
        self._pulls = [p * _inverse(self._hessian, p) for p in _PENALTIES]

    def fit(self, zeros: int, groups: Groups | None = None) -> tuple[Tensor, Tensor]:
        """Returns the weights, `(blocks, rows, width)` in float64, and which of them stay.

        Args:
            zeros: how many go, over all rows; exact.
            groups: allowances of N:M patterns, which then say what goes; all that are not zero
                have the same room and as many columns.
        """
        weights = self._weights
        z, u = weights, torch.zeros_like(weights)
        before = _PENALTIES[0]
        for penalty, pull in zip(_PENALTIES, self._pulls, strict=True):
            u = u * (before / penalty)
            before = penalty
            for _ in range(_STEPS):
                v = torch.baddbmm(weights, z - u - weights, pull).add_(u)
                kept = self._largest(v.square(), zeros, groups)
                z = v * kept
                u = v - z
        fitted = descend_on_mask(self._hessian, weights, kept, z)
        return fitted.to(torch.float64) / self._scale, kept

    def _largest(self, scores: Tensor, zeros: int, groups: Groups | None) -> Tensor:
        if groups is not None:
            return _within_groups(scores, groups)
        padding = int(scores.numel() - self._valid.sum())
        if padding:
            scores = scores.masked_fill(~self._valid, -1.0)
        return all_but_smallest(scores, zeros + padding)


def all_but_smallest(scores: Tensor, n: int) -> Tensor:
    """Returns a mask that leaves out exactly the `n` smallest; of equal ones, the first."""
    if n <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if n >= scores.numel():
        return torch.zeros_like(scores, dtype=torch.bool)
    flat = scores.reshape(-1)
    if flat.is_cpu:  # many times as fast as kthvalue
        bound = float(np.partition(flat.numpy(), n - 1)[n - 1])
    else:
        bound = float(flat.kthvalue(n).values)
    kept = flat > bound
    missing = len(flat) - n - int(kept.sum())
    if missing:
        equal = (flat == bound).nonzero()[:, 0]
        kept[equal[len(equal) - missing :]] = True
    return kept.reshape(scores.shape)


def _within_groups(scores: Tensor, groups: Groups) -> Tensor:
    """Returns a mask without each group's smallest scores, as many as it has room for."""
    kept = torch.ones_like(scores, dtype=torch.bool)
    room = int(groups.room.max())
    if not room:
        return kept
    free = (groups.room[groups.of] > 0).nonzero()[:, 0]
    members = free[groups.of[free].argsort(stable=True)].reshape(int((groups.room > 0).sum()), -1)
    inside = scores[..., members]  # (blocks, rows, groups, M)
    smallest = inside.argsort(dim=-1, stable=True)[..., :room]
    kept[..., members] = torch.ones_like(inside, dtype=torch.bool).scatter_(-1, smallest, False)
    return kept


def _inverse(hessian: Tensor, penalty: float) -> Tensor:
    added = hessian.clone()
    added.diagonal(dim1=1, dim2=2).add_(penalty)
    return torch.cholesky_inverse(torch.linalg.cholesky(added))
