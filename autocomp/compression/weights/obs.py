"""Optimal-brain-surgeon pruning: what goes, and what the rest becomes, from input moments alone."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.elimination import Groups, Trace, eliminate
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.least_squares import refit
from autocomp.compression.recovery.sparse_fit import SparseFit
from autocomp.compression.weights.base import Compressor
from autocomp.compression.weights.magnitude import MagnitudePruner
from autocomp.core.choice import Choice
from autocomp.errors import ChoiceError

ELIMINATED = 192
"""Most inputs an output of a layer whose weights are eliminated one by one.

Below half the weights that errs less than `SparseFit` at 144 inputs, and more from there on; at 288
inputs it takes several times as long, at 576 thirty times."""


class OBSPruner(Compressor):
    """Second-order pruning of each layer, the weights that stay making up for those that go.

    Narrow layers (up to `ELIMINATED` inputs an output) are eliminated weight by weight (OBC,
    Frantar et al. 2022, arXiv:2208.11580): one elimination per row gives every sparsity level, rows
    are merged by loss, and the weights that stay are the least-squares fit of the layer's outputs.
    Wider ones are fitted by alternating directions (`SparseFit`), at a cost of rows * width^2 a
    sparsity. Without input moments (embeddings, layers that are never called) this is magnitude
    pruning. Of a layer whose moments are block-diagonal, correlations between blocks do not count.

    What sparsities share is remembered with the layer's moments.
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
            fitted = refit(gram, rows, kept)
        elif gram.layout.width > ELIMINATED:
            fitted, kept = _sparse_fit(gram, rows).fit(zeros, _groups(gram, choice))
        else:
            padding = gram.layout.padding * gram.layout.groups * gram.layout.rows
            kept = _trace(gram, rows, choice).kept(zeros, padding)
            fitted = refit(gram, rows, kept)
        # a weight that stays but happens to be 0 must not be taken for a pruned one
        tiny = torch.finfo(weight.dtype).tiny
        fitted = torch.where(kept & (fitted.abs() < tiny), torch.full_like(fitted, tiny), fitted)
        return gram.layout.join(fitted).to(weight.dtype).contiguous()


def _groups(gram: Gram, choice: Choice) -> Groups | None:
    pattern = choice.weights.pattern
    return pattern_groups(gram.layout, pattern) if pattern else None


def _trace(gram: Gram, rows: Tensor, choice: Choice) -> Trace:
    groups, valid = _groups(gram, choice), gram.layout.valid
    found: Trace = gram.recall(
        f"trace {choice.weights.pattern}", rows,
        lambda: eliminate(gram.hessian, rows, valid, groups),
    )  # fmt: skip
    return found


def _sparse_fit(gram: Gram, rows: Tensor) -> SparseFit:
    found: SparseFit = gram.recall(
        "sparse fit", rows, lambda: SparseFit(gram.hessian, rows, gram.layout.valid)
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
