"""Exact optimal-brain-surgeon elimination: the order in which weights go, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LAZY = 32
"""Eliminations between two updates of the inverse; the result does not depend on it."""
_BYTES = 1 << 28
"""Memory for the inverses of the rows that are worked on together."""


@dataclass(frozen=True)
class Trace:
    """All sparsity levels of a layer at once (Frantar et al. 2022, arXiv:2208.11580).

    Attributes:
        rank: int64 `(blocks, rows, width)`: the weight's place in its row's order of elimination.
        loss: float64 `(blocks, rows, width)`: what eliminating the weight added to its row's error,
            made non-decreasing along the order, so that merging rows respects it.
    """

    rank: Tensor
    loss: Tensor

    def kept(self, zeros: int, padding: int = 0) -> Tensor:
        """Returns the boolean mask after the `zeros` cheapest eliminations over all rows.

        Args:
            zeros: weights to eliminate; exact.
            padding: columns of zeros in the layout, which go first and do not count.
        """
        blocks, rows, width = self.loss.shape
        zeros += padding
        flat = self.loss.reshape(-1)
        # by loss, and within a row by rank: among equal losses the earlier elimination first
        order = torch.argsort(self.rank.reshape(-1), stable=True)
        order = order[torch.argsort(flat[order], stable=True)]
        kept = torch.ones(flat.shape, dtype=torch.bool)
        kept[order[:zeros]] = False
        return kept.reshape(blocks, rows, width)


@dataclass(frozen=True)
class Groups:
    """Columns that share an allowance of eliminations (N:M patterns).

    Attributes:
        of: int64 `(width,)`: each column's group.
        room: int64 `(groups,)`: how many columns of a group may go.
    """

    of: Tensor
    room: Tensor


def eliminate(
    hessian: Tensor, weights: Tensor, valid: Tensor, groups: Groups | None = None
) -> Trace:
    """Eliminates the weights of every row one by one, the cheapest first, the others making up.

    Each step removes p = argmin w_p^2 / [H^-1]_pp at a cost of that value (the increase of
    tr(D H D^T)), moves the rest by -w_p / [H^-1]_pp H^-1[:, p], and eliminates p from H^-1
    (Hassibi and Stork 1993). Memory-bound as written; here H^-1 is updated lazily in blocks of
    rank 32 and shrinks with what is left.

    Args:
        hessian: positive definite float64 `(blocks, width, width)`.
        weights: float64 `(blocks, rows, width)`.
        valid: boolean `(blocks, 1, width)`; the others go first, at no cost.
        groups: allowances; elimination ends when they are used up. Those that stay have rank
            `width` and an infinite loss.
    """
    blocks, rows, width = weights.shape
    rank = torch.empty(blocks, rows, width, dtype=torch.int64)
    loss = torch.empty(blocks, rows, width, dtype=torch.float64)
    step = max(1, _BYTES // (8 * width * width))
    for block in range(blocks):
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian[block]))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            rank[block, part], loss[block, part] = _eliminate(
                inverse, weights[block, part], valid[block], groups
            )
    return Trace(rank, loss)


def _eliminate(
    inverse: Tensor, weights: Tensor, valid: Tensor, groups: Groups | None
) -> tuple[Tensor, Tensor]:
    rows, width = weights.shape
    at = torch.arange(rows)
    w = weights.clone()
    matrix = inverse.expand(rows, -1, -1)
    diagonal = matrix.diagonal(dim1=1, dim2=2).clone()
    left = torch.arange(width).expand(rows, -1).contiguous()  # original places
    done = torch.zeros(rows, width, dtype=torch.bool)
    free = valid.expand(rows, -1)
    room = None if groups is None else groups.room.expand(rows, -1).clone()
    rank = torch.full((rows, width), width, dtype=torch.int64)
    loss = torch.full((rows, width), torch.inf, dtype=torch.float64)
    padding = ~free
    if bool(padding.any()):
        rank[padding] = -1
        loss[padding] = -torch.inf
    done |= padding
    worst = torch.zeros(rows, dtype=torch.float64)
    total = int(free[0].sum()) if room is None else int(room[0].sum())
    updates = torch.zeros(rows, width, _LAZY, dtype=torch.float64)
    used = 0
    for number in range(total):
        score = w.square() / diagonal
        blocked = done
        if groups is not None and room is not None:
            blocked = done | (room.gather(1, groups.of[left]) <= 0)
        score.masked_fill_(blocked, torch.inf)
        cost, p = score.min(1)
        column = matrix[at, p]
        if used:
            past = updates[:, :, :used]
            column = column - (past @ past[at, p][:, :, None])[..., 0]
        pivot = column[at, p]
        w = w - (w[at, p] / pivot)[:, None] * column
        worst = torch.maximum(worst, cost)
        place = left[at, p]
        rank[at, place] = number
        loss[at, place] = worst
        done[at, p] = True
        w[at, p] = 0.0
        v = column * pivot.rsqrt()[:, None]
        updates[:, :, used] = v
        diagonal = (diagonal - v.square()).masked_fill(done, 1.0)
        if groups is not None and room is not None:
            room[at, groups.of[place]] -= 1
        used += 1
        if used == _LAZY and number + 1 < total:
            # bring the inverse up to date, and drop what has gone
            keep_columns = (~done).to(torch.int8).argsort(dim=1, descending=True, stable=True)
            n = int((~done).sum(1)[0])
            keep_columns = keep_columns[:, :n]
            shrunk = updates.gather(1, keep_columns[:, :, None].expand(-1, -1, _LAZY))
            index = (at[:, None, None], keep_columns[:, :, None], keep_columns[:, None, :])
            matrix = torch.baddbmm(matrix[index], shrunk, shrunk.transpose(1, 2), alpha=-1)
            w, left = w.gather(1, keep_columns), left.gather(1, keep_columns)
            done = torch.zeros_like(w, dtype=torch.bool)
            diagonal = matrix.diagonal(dim1=1, dim2=2).clone()
            updates = torch.zeros(rows, n, _LAZY, dtype=torch.float64)
            used = 0
    return rank, loss
