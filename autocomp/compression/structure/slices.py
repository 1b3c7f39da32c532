"""Recovery of sliced layers from what is known of the dense ones: moments cut, orders inherited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.least_squares import refit
from autocomp.compression.weights.base import Compressor
from autocomp.compression.weights.obs import OBSPruner
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec


@dataclass(frozen=True)
class Slice:
    """A layer cut out of another.

    Attributes:
        before: the dense layer.
        after: the sliced one.
        outputs: outputs that stay, or None for all.
        inputs: inputs that stay, counted over all groups, or None for all.
    """

    before: LayerSpec
    after: LayerSpec
    outputs: Sequence[int] | None
    inputs: Sequence[int] | None

    def cut(self, weight: Tensor) -> Tensor | None:
        """Returns a tensor of the dense weight's shape, cut; None for grouped layers."""
        layer = self.before
        if layer.groups > 1:
            if self.after.groups == layer.groups:
                return None
            stay = self.outputs if self.outputs is not None else self.inputs
            return weight if stay is None else weight[list(stay)]
        for axis, stay in ((layer.out_axis, self.outputs), (layer.in_axis, self.inputs)):
            if stay is not None:
                weight = weight.index_select(axis, torch.tensor(list(stay)))
        return weight


def sliced_gram(gram: Gram, cut: Slice) -> Gram | None:
    """Returns the moments of the inputs that are left; None where blocks do not allow it.

    The dense network's inputs stand for the sliced network's, as in all tables.
    """
    before, after = gram.layout, Layout.of(cut.after)
    if before.slices > 1 or after.slices > 1:
        return None
    if cut.after.groups != cut.before.groups:  # depthwise: a block for every channel
        stay = cut.outputs if cut.outputs is not None else cut.inputs
        assert stay is not None
        blocks = torch.tensor(list(stay))
        return Gram(after, gram.second[blocks], gram.mean[blocks], gram.count, gram.centred)
    if cut.before.groups > 1:
        return None
    if cut.inputs is None:
        if before.groups == 1 and after.groups == 1:
            return Gram(after, gram.second, gram.mean, gram.count, gram.centred)
        return None
    per_position = before.inputs // before.kernel
    columns = torch.tensor(
        [k * per_position + place for k in range(before.kernel) for place in cut.inputs]
    )
    second = gram.second[:, columns][:, :, columns]
    return Gram(after, second, gram.mean[:, columns], gram.count, gram.centred)


class InheritingPruner(Compressor):
    """Prunes a sliced layer in the order in which the dense one lost its weights.

    A weight that survives in more of the dense layer's options goes later; among equals the smaller
    goes first. What stays is fitted to the sliced layer's moments. The elimination itself is not
    made again for every shape, which would take most of an evaluation.

    Args:
        survivals: dense layer -> in how many of its options each weight survives.
        cuts: sliced layer -> how it was cut.
    """

    def __init__(self, survivals: Callable[[LayerSpec], Tensor], cuts: Mapping[str, Slice]) -> None:
        self._survivals = survivals
        self._cuts = cuts
        self._ranks: dict[str, Tensor] = {}

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns a new weight with exactly `stats.layer.zeros(choice)` zeros."""
        zeros, gram = stats.layer.zeros(choice), stats.gram
        rank = self._rank(stats.layer.name)
        if zeros == 0:
            return weight.clone()
        if choice.weights.pattern or gram is None or rank is None:
            return OBSPruner().compress(weight, choice, stats)
        size = weight.abs().float()
        score = rank + size / (2 * size.max().clamp(min=1e-30))
        order = torch.argsort(score.reshape(-1), stable=True)
        kept = torch.ones(weight.numel(), dtype=torch.bool)
        kept[order[:zeros]] = False
        rows = gram.layout.split(weight)
        mask = gram.layout.split(kept.reshape(weight.shape).double()) > 0
        fitted = gram.layout.join(refit(gram, rows, mask)).to(weight.dtype)
        # a weight that stays but happens to be 0 must not be taken for a pruned one
        tiny = torch.finfo(weight.dtype).tiny
        stays = kept.reshape(weight.shape)
        fitted = torch.where(stays & (fitted.abs() < tiny), torch.full_like(fitted, tiny), fitted)
        return torch.where(stays, fitted, torch.zeros_like(fitted)).contiguous()

    def _rank(self, name: str) -> Tensor | None:
        """Returns in how many of the dense layer's options each weight that is left survives."""
        cut = self._cuts.get(name)
        if cut is None:
            return None  # a factor of a low-rank form
        if name not in self._ranks:
            total = self._survivals(cut.before)
            small = cut.cut(total)
            if small is None:
                return None
            self._ranks[name] = small
        return self._ranks[name]
