"""Least-squares systems of the weights that a mask keeps, factorised for all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factor:
    """For each system: which columns it keeps, and the lower triangular L with H_SS = L L^T.

    Rows that keep everything share their block's one system (`shared`); otherwise each row has its
    own. Columns stand in ascending order of H's diagonal. Rounding goes from the last to the first,
    so the most important columns are rounded first (Frantar et al. 2023, arXiv:2210.17323).

    Attributes:
        shared: whether all rows of a block share one system.
        columns: int64 `(systems, n)`: places of the kept columns; padding points at column 0.
        valid: boolean `(systems, n)`: False for padding, which comes first.
        lower: float64 `(systems, n, n)`: L; the identity in the padding.
        shape: (blocks, rows, width).
    """

    shared: bool
    columns: Tensor
    valid: Tensor
    lower: Tensor
    shape: tuple[int, int, int]

    def gather(self, rows: Tensor) -> Tensor:
        """Returns `(systems, m, n)` from `(blocks, rows, width)`, m rows sharing a system."""
        blocks, n_rows, width = self.shape
        m = n_rows if self.shared else 1
        grouped = rows.reshape(-1, m, width)
        index = self.columns[:, None, :].expand(-1, m, -1)
        return grouped.gather(2, index) * self.valid[:, None, :]

    def of_rows(self, blocks: slice, rows: int) -> Factor:
        """Returns the systems of some blocks, for that many of their rows, which share them."""
        shape = (len(self.lower[blocks]), rows, self.shape[2])
        return Factor(True, self.columns[blocks], self.valid[blocks], self.lower[blocks], shape)

    def scatter(self, values: Tensor) -> Tensor:
        """Returns `(blocks, rows, width)` with `(systems, m, n)` in place, zeros elsewhere."""
        blocks, n_rows, width = self.shape
        m = n_rows if self.shared else 1
        result = values.new_zeros(len(values), m, width)
        # padding adds zero to column 0
        result.scatter_add_(
            2, self.columns[:, None, :].expand(-1, m, -1), values * self.valid[:, None, :]
        )
        return result.reshape(blocks, n_rows, width)


def factorise(hessian: Tensor, kept: Tensor) -> Factor:
    """Factorises H on the kept columns of every row.

    Args:
        hessian: positive definite `(blocks, width, width)`, float64.
        kept: boolean `(blocks, rows, width)`.
    """
    blocks, rows, width = kept.shape
    order = hessian.diagonal(dim1=1, dim2=2).argsort(dim=1, stable=True)
    shape = (blocks, rows, width)
    if bool(kept.all()):
        block = torch.arange(blocks)[:, None, None]
        matrices = hessian[block, order[:, :, None], order[:, None, :]]
        valid = torch.ones_like(order, dtype=torch.bool)
        return Factor(True, order, valid, torch.linalg.cholesky(matrices), shape)
    order = order[:, None].expand(-1, rows, -1).reshape(-1, width)
    ordered = kept.reshape(-1, width).gather(1, order)
    counts = ordered.sum(1)
    n = max(1, int(counts.max()))
    # the kept columns of a row, in order, behind its padding
    last = ordered.to(torch.int8).argsort(dim=1, stable=True)[:, width - n :]
    valid = ordered.gather(1, last)
    columns = torch.where(valid, order.gather(1, last), torch.zeros_like(last))
    lower = torch.zeros(blocks * rows, n, n, dtype=torch.float64)
    lower.diagonal(dim1=1, dim2=2).fill_(1.0)
    # rows with about as many columns together: a short one costs less than a long one
    by_count = counts.argsort(stable=True)
    start = 0
    while start < len(by_count):
        size = max(1, int(counts[by_count[min(start + rows // 8, len(by_count) - 1)]]))
        some = by_count[start : start + max(1, min(rows // 8 + 1, (1 << 24) // (size * size)))]
        size = max(1, int(counts[some].max()))
        tail = slice(n - size, n)
        index, live = columns[some][:, tail], valid[some][:, tail]
        block = (some // rows)[:, None, None]
        matrices = hessian[block, index[:, :, None], index[:, None, :]]
        matrices = matrices * (live[:, :, None] & live[:, None, :])
        matrices.diagonal(dim1=1, dim2=2).add_((~live).to(matrices.dtype))
        lower[some, tail, tail] = torch.linalg.cholesky(matrices)
        start += len(some)
    return Factor(False, columns, valid, lower, shape)
