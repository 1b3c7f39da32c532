"""Second moments of a layer's inputs, from which every recovery is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from autocomp.compression.recovery.factor import Factor, factorise
from autocomp.compression.recovery.layout import Layout

PIECE_BYTES = 1 << 29
"""Memory for the systems of a masked layer's rows; more than that are worked off in parts."""
NARROW = 320
"""Widest matrix for which every row's own system is factorised.

Rounding on a mask errs up to 15 % less with systems of the rows' own at 144 columns, 3 % at 288,
not at all at 576."""
_OWN = 2e9
"""Most rows * width^3 for that; a product with one shared matrix costs rows * width^2."""
ROUNDED = 1 << 19
"""Weights of a wide layer that are rounded together."""
DAMPING = 1e-3
"""Share of the mean diagonal that is added to it at least, so that a factorisation exists."""
SPARSE_DAMPING = 0.02
"""That share where there is one input a column; it falls with their number.

Moments of few inputs show correlations that others do not have, and what makes up for an error by
them makes it worse. Measured on 4,608 columns of a network's features (`benchmarks/wide.py`)."""


@dataclass(frozen=True)
class Gram:
    """Moments of a layer's unfolded inputs x, from calibration: G = E[x x^T] and E[x].

    Where a bias or a batch norm behind the layer takes up a shift of its output, that part of an
    error costs nothing, and what counts is the covariance; `centred` says so.

    Attributes:
        layout: how the weight is cut into the rows that multiply x.
        second: float64 `(blocks, width, width)`: E[x x^T].
        mean: float64 `(blocks, width)`: E[x].
        count: number of vectors x.
        centred: whether errors are measured around their mean.
    """

    layout: Layout
    second: Tensor
    mean: Tensor
    count: int
    centred: bool = False
    _memo: dict[str, tuple[Tensor, Any]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether no correlation was left out: False if a wide layer's inputs were sliced."""
        return self.layout.slices == 1

    def centre(self) -> Gram:
        """Returns the same moments, to be used around the mean."""
        return replace(self, centred=True, _memo={})

    @property
    def moment(self) -> Tensor:
        """The matrix M whose form tr(D M D^T) is the mean squared error of the outputs."""
        if not self.centred:
            return self.second
        if self.layout.width > NARROW:  # made again, not kept: it is as large as all weights
            return self._around_mean()
        return self._own_moment

    @cached_property
    def _own_moment(self) -> Tensor:
        return self._around_mean()

    def _around_mean(self) -> Tensor:
        return self.second - self.mean[:, :, None] * self.mean[:, None, :]

    @cached_property
    def hessian(self) -> Tensor:
        """`moment` made positive definite: inputs that are always zero get 1, then damping.

        The fewer inputs a column was seen with, the more damping. Products of float32 inputs whose
        sizes differ by orders of magnitude can leave eigenvalues far below zero; damping grows
        tenfold until a factorisation exists.
        """
        matrix = self.moment.clone()
        diagonal = matrix.diagonal(dim1=1, dim2=2)
        scale = diagonal.mean(1, keepdim=True).clamp(min=0)
        # of nearly constant inputs little but rounding noise is left around the mean
        noise = 1e-5 * self.second.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
        few = SPARSE_DAMPING * self.layout.width / max(1, self.count)
        floor = max(DAMPING, min(1.0, few)) * scale + noise
        floor = torch.where(floor > 0, floor, torch.ones_like(floor))
        dead = diagonal <= 1e-12 * scale
        diagonal.add_(torch.where(dead, torch.maximum(scale, floor), floor))
        while bool((failed := torch.linalg.cholesky_ex(matrix).info != 0).any()):
            diagonal.add_(torch.where(failed[:, None], floor, torch.zeros_like(floor)))
            floor = 10 * floor
        return matrix

    def error(self, difference: Tensor) -> float:
        """Returns the mean squared error of the layer's outputs, summed over outputs.

        E ||D x||^2 = tr(D G D^T); with `centred`, E ||D (x - E x)||^2. Exact for the calibration
        inputs, unless slices leave correlations out.

        Args:
            difference: new weight minus old, of the weight's shape.
        """
        rows = self.layout.split(difference)
        # of a form that is never negative, float32 loses a hundred thousandth
        return float(self.row_errors(rows if rows.shape[2] <= NARROW else rows.float()).sum())

    def row_errors(self, difference: Tensor) -> Tensor:
        """Returns `(blocks, rows)` errors of a difference `(blocks, rows, width)`."""
        same = difference.dtype == self.second.dtype
        moment = self.moment if same else self._single
        return ((difference @ moment) * difference).sum(-1).clamp(min=0)

    @cached_property
    def _single(self) -> Tensor:
        return self.moment.float()

    @cached_property
    def single_hessian(self) -> Tensor:
        """`hessian` in float32, in which codes are looked for."""
        return self.hessian.float()

    def shift(self, difference: Tensor) -> Tensor:
        """Returns `(outputs,)`: by how much a difference moves the mean of each output."""
        layout = self.layout
        moved = (layout.split(difference) @ self.mean[:, :, None])[..., 0]
        return moved.reshape(layout.groups, layout.slices, layout.rows).sum(1).reshape(-1)

    def factor(self, kept: Tensor) -> Factor:
        """Returns the factorised system of the weights that are kept; the last one is remembered.

        Args:
            kept: boolean `(blocks, rows, width)`.
        """
        found: Factor = self.recall("factor", kept, lambda: factorise(self.hessian, kept))
        return found

    def systems(self, kept: Tensor) -> Iterator[tuple[slice, slice, Factor]]:
        """Yields (blocks, rows, factor) of parts of the weight, for rounding on a mask.

        Rows of narrow layers get systems of their own, of the columns that they keep; rows of wide
        ones share that of all columns.

        Args:
            kept: boolean `(blocks, rows, width)`.
        """
        wide = kept.shape[2] > NARROW
        if has_own_systems(kept) or (bool(kept.all()) and not wide):
            yield from self.pieces(kept)
            return
        whole = self._whole_factor
        step = max(1, ROUNDED // kept.shape[2])
        for block in range(kept.shape[0]):
            own = slice(block, block + 1)
            for start in range(0, kept.shape[1], step):
                part = slice(start, min(start + step, kept.shape[1]))
                yield own, part, whole.of_rows(own, part.stop - part.start)

    @cached_property
    def _whole_factor(self) -> Factor:
        """The system of all columns, in float32."""
        blocks, width, _ = self.second.shape
        found = factorise(self.hessian, torch.ones(blocks, 1, width, dtype=torch.bool))
        return replace(found, lower=found.lower.float())

    def pieces(self, kept: Tensor) -> Iterator[tuple[slice, slice, Factor]]:
        """Yields (blocks, rows, factor) of parts of the weight whose systems fit into memory.

        Args:
            kept: boolean `(blocks, rows, width)`.
        """
        blocks, rows, _ = kept.shape
        width = max(1, int(kept.sum(2).max()))
        if bool(kept.all()) or 8 * blocks * rows * width * width <= PIECE_BYTES:
            yield slice(None), slice(None), self.factor(kept)
            return
        step = max(1, PIECE_BYTES // (8 * width * width))
        for block in range(blocks):
            for start in range(0, rows, step):
                here, part = slice(block, block + 1), slice(start, start + step)
                yield here, part, factorise(self.hessian[here], kept[here, part])

    def recall(self, name: str, key: Tensor, compute: Callable[[], Any]) -> Any:
        """Returns what was computed last under `name` if its key was the same, else computes it."""
        last = self._memo.get(name)
        if last is None or not torch.equal(last[0], key):
            last = (key.clone(), compute())
            self._memo[name] = last
        return last[1]

    def forget(self) -> None:
        """Frees what was computed."""
        self._memo.clear()
        for name in ("hessian", "_single", "single_hessian", "_whole_factor", "_own_moment"):
            self.__dict__.pop(name, None)


def has_own_systems(kept: Tensor) -> bool:
    """Whether every row of a mask `(blocks, rows, width)` is worth a system of its own."""
    blocks, rows, width = kept.shape
    return width <= NARROW and blocks * rows * float(width) ** 3 <= _OWN


class GramSum:
    """Accumulates the moments of a layer's inputs, batch after batch, in float64."""

    def __init__(self, layout: Layout) -> None:
        blocks, width = layout.groups * layout.slices, layout.width
        self.layout = layout
        self._second = torch.zeros(blocks, width, width, dtype=torch.float64)
        self._mean = torch.zeros(blocks, width, dtype=torch.float64)
        self._count = 0

    def add(self, vectors: Tensor) -> None:
        """Adds `(groups, n, d)` input vectors."""
        blocks = self.layout.cut(vectors.detach())
        # one piece's products fit the type of the inputs; the sum over pieces needs float64
        floats = blocks if blocks.dtype == torch.float64 else blocks.to(torch.float32)
        self._second += (floats.transpose(1, 2) @ floats).to("cpu", torch.float64)
        self._mean += floats.sum(1).to("cpu", torch.float64)
        self._count += blocks.shape[1]

    def result(self) -> Gram | None:
        """Returns the moments; None if no input was seen."""
        if not self._count or not torch.isfinite(self._second).all():
            return None
        return Gram(self.layout, self._second / self._count, self._mean / self._count, self._count)
