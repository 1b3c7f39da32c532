"""Optimal-brain-surgeon pruning: what goes, and what the rest becomes, from input moments alone."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.elimination import Groups, Trace, eliminate
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.least_squares import refit
from autocomp.compression.weights.base import Compressor
from autocomp.compression.weights.magnitude import MagnitudePruner
from autocomp.core.choice import Choice
from autocomp.errors import ChoiceError


class OBSPruner(Compressor):
    """Exact second-order pruning of each layer (OBC, Frantar et al. 2022, arXiv:2208.11580).

    One elimination per row gives every sparsity level; rows are merged by loss, and the weights
    that stay are the least-squares fit of the layer's outputs. Without input moments (embeddings,
    layers that are never called) this is magnitude pruning. A wide layer, whose Gram matrix is
    block-diagonal, is eliminated block by block.

    The elimination is remembered with the layer's moments, so that a menu of sparsities costs one.
    """

    passes_on_order = True

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns a new weight with exactly `stats.layer.zeros(choice)` zeros.

        Args:
            weight: floating tensor of the layer's shape; not modified.
            choice: its `sparsity` or `pattern` is used.
            stats: the layer and the moments of its inputs.

        Raises:
            ChoiceError: if the weight is not finite.
        """
        zeros = stats.layer.zeros(choice)
        if zeros == 0:
            return weight.clone()
        if not bool(torch.isfinite(weight).all()):
            raise ChoiceError(
                f"The weight of {stats.layer.name!r} must be finite to prune it; check the network."
            )
        gram = stats.gram
        if gram is None:
            return MagnitudePruner().compress(weight, choice, stats)
        rows = gram.layout.split(weight)
        across = stats.layer.kind == "transposed" and gram.layout.groups > 1
        if choice.weights.pattern and (across or gram.layout.slices > 1):
            kept = _pattern_by_saliency(gram, rows, choice, stats)
        else:
            trace = _trace(gram, rows, choice.weights.pattern)
            padding = gram.layout.padding * gram.layout.groups * gram.layout.rows
            kept = trace.kept(zeros, padding)
        fitted = refit(gram, rows, kept)
        # a weight that stays but happens to be 0 must not be taken for a pruned one
        tiny = torch.finfo(weight.dtype).tiny
        fitted = torch.where(kept & (fitted.abs() < tiny), torch.full_like(fitted, tiny), fitted)
        return gram.layout.join(fitted).to(weight.dtype).contiguous()


def _trace(gram: Gram, rows: Tensor, pattern: str) -> Trace:
    groups = pattern_groups(gram.layout, pattern) if pattern else None
    found: Trace = gram.recall(
        f"trace {pattern}", rows, lambda: eliminate(gram.hessian, rows, gram.layout.valid, groups)
    )
    return found


def pattern_groups(layout: Layout, pattern: str) -> Groups:
    """Returns the columns that share an N:M allowance: M inputs in a row at one kernel position."""
    n, m = Choice.of(pattern=pattern).weights.n_of_m
    column = torch.arange(layout.inputs)
    inputs = layout.inputs // layout.kernel
    position, channel = column // inputs, column % inputs
    of = position * -(-inputs // m) + channel // m
    room = torch.full((int(of.max()) + 1,), m - n)
    room[of[channel >= inputs // m * m]] = 0  # a rest of fewer than M stays whole
    return Groups(of, room)


def _pattern_by_saliency(
    gram: Gram, rows: Tensor, choice: Choice, stats: LayerStatistics
) -> Tensor:
    """Returns an N:M mask by the cost of each weight alone: these groups cross blocks."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram.hessian))
    saliency = rows.square() / inverse.diagonal(dim1=1, dim2=2)[:, None, :]
    # above zero, so that the mask can be read off
    saliency = gram.layout.join(saliency + torch.finfo(torch.float64).tiny)
    return gram.layout.split(MagnitudePruner().compress(saliency, choice, stats)) != 0
