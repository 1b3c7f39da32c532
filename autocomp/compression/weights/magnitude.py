"""Magnitude pruning: unstructured (the smallest weights go) and N:M (the smallest of each M)."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.weights.base import Compressor
from autocomp.core.choice import Choice


class MagnitudePruner(Compressor):
    """Zeroes the weights of least absolute value (Han et al. 2015, arXiv:1506.02626).

    With `sparsity` s exactly `round(s * n)` of the layer's n weights become zero; among equal
    magnitudes the first go. With `pattern` N:M, of every M consecutive weights along the input axis
    (Mishra et al. 2021, arXiv:2104.08378) the N largest stay; a rest of fewer than M stays whole.
    """

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns a copy of `weight` with the pruned weights at zero.

        Args:
            weight: floating tensor of the layer's shape; not modified.
            choice: its `sparsity` or `pattern` is used.
            stats: names the layer, whose axes the pattern runs along.
        """
        if choice.weights.pattern:
            return _prune_pattern(weight, choice, stats)
        zeros = stats.layer.zeros(choice)
        if zeros == 0:
            return weight.clone()
        flat = weight.reshape(-1)
        # a selection, not a sort, and ties in order: exact, repeatable, and fast on large layers
        magnitude = flat.abs()
        threshold = magnitude.kthvalue(zeros).values
        result = flat.masked_fill(magnitude < threshold, 0)
        ties = torch.nonzero(magnitude == threshold).reshape(-1)
        result[ties[: zeros - int((magnitude < threshold).sum())]] = 0
        return result.reshape(weight.shape)


def _prune_pattern(weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
    n, m = choice.weights.n_of_m
    layer = stats.layer
    # one row per output and kernel position: a group never crosses from one position to the next
    moved = weight.movedim(layer.in_axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    result = rows.clone()
    whole = rows.shape[1] // m * m
    groups = rows[:, :whole].reshape(len(rows), -1, m)
    order = torch.argsort(groups.abs(), dim=-1, stable=True)
    pruned = groups.scatter(-1, order[..., : m - n], 0.0)
    result[:, :whole] = pruned.reshape(len(rows), whole)
    return result.reshape(moved.shape).movedim(-1, layer.in_axis).contiguous()
