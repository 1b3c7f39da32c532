"""The weights that best stand in for the ones that were removed."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.recovery.gram import Gram


def refit(gram: Gram, weights: Tensor, kept: Tensor) -> Tensor:
    """Returns the least-squares weights on a mask: w_S = (w H)_S (H_SS)^-1 for every row.

    It is where optimal-brain-surgeon elimination of the same weights ends.

    Args:
        gram: moments of the inputs.
        weights: float64 `(blocks, rows, width)`.
        kept: boolean, same shape.
    """
    if bool(kept.all()):
        return weights.clone()
    wanted = weights @ gram.hessian
    fitted = torch.zeros_like(weights)
    for blocks, rows, factor in gram.pieces(kept):
        target = factor.gather(wanted[blocks, rows])
        solved = torch.cholesky_solve(target.transpose(1, 2), factor.lower).mT
        fitted[blocks, rows] = factor.scatter(solved)
    return fitted
