"""Channels of each dependency group, so that tensors get smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
from autocomp.search_spaces.axes import (
    MOST_LEVELS,
    Axis,
    AxisSpace,
    as_tuple,
    bits_axes,
    sparsity_axis,
)

from autocomp.errors import SpaceError
from autocomp.plugins.bounds import check_whole


class StructuredSpace(AxisSpace):
    """How many channels, heads or neurons each group keeps; the network is sliced for real.

    A group's first layer decides (AMC, He et al. 2018, arXiv:1802.03494, with dependency groups as
    in Fang et al. 2023, arXiv:2301.12900); the other layers have nothing to choose. Action entries:
    channels (-1 is `lowest`, +1 is all), then the criterion if there are several, then the rank.

    Args:
        lowest: smallest share of a group's units that can stay.
        levels: number of shares, evenly spaced up to 1; counts that coincide are one choice.
        criteria: what orders the units: names of `autocomp criteria`, as a list or joined by "+";
            "" is the least-squares order.
        ranks: number of ranks per layer, evenly spaced up to whole; 0 leaves ranks out.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    structural = True

    def __init__(
        self,
        lowest: float = 0.125,
        levels: int = 15,
        criteria: Any = ("",),
        ranks: int = 0,
        discrete: bool = False,
    ) -> None:
        axes = [channels_axis(lowest, levels)]
        names = tuple(criteria.split("+")) if isinstance(criteria, str) else as_tuple(criteria)
        if len(names) > 1:
            axes.append(Axis("criterion", names))
        if ranks:
            axes.append(rank_axis(ranks))
        fixed = {} if len(names) > 1 else {"criterion": names[0]}
        super().__init__(axes, discrete=discrete, fixed={k: v for k, v in fixed.items() if v})


class FullSpace(AxisSpace):
    """Channels, sparsity inside what is left, and bits of each layer, in one action.

    The open problem of the field's surveys: structured and unstructured pruning and quantization
    searched together. Action entries: channels, rank, sparsity, weight bits, then activation bits
    if they have several values; -1 is the most compressed.

    Args:
        lowest: smallest share of a group's units that can stay.
        channel_levels: number of shares.
        highest: largest sparsity.
        levels: number of sparsities, evenly spaced down to 0; 0 leaves sparsity out.
        ranks: number of ranks per layer, evenly spaced up to whole; 0 leaves ranks out.
        weight_bits: the weight's bit-widths.
        activation_bits: the input's bit-widths; (32,) leaves inputs alone.
        output_bits: bit-widths of outputs that no next layer rounds, and of the sums that they go
            into, where a layer's inputs are rounded; "auto" is 8.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    structural = True

    def __init__(
        self,
        lowest: float = 0.25,
        channel_levels: int = 7,
        highest: float = 0.95,
        levels: int = 20,
        ranks: int = 0,
        weight_bits: Any = (2, 3, 4, 5, 6, 8),
        activation_bits: Any = (32,),
        output_bits: Any = "auto",
        discrete: bool = False,
    ) -> None:
        bits, fixed = bits_axes(weight_bits, activation_bits, output_bits)
        sparsity = [sparsity_axis(highest, levels)] if levels else []
        low = [rank_axis(ranks)] if ranks else []
        axes = [channels_axis(lowest, channel_levels), *low, *sparsity, *bits]
        super().__init__(axes, discrete=discrete, fixed=fixed)


class RankSpace(AxisSpace):
    """The rank of each layer: one layer becomes two or more smaller ones (`--decomposition`).

    Action entry: -1 is the lowest rank, +1 leaves the layer whole.

    Args:
        ranks: number of ranks per layer, evenly spaced up to whole.
        weight_bits: bits of the factors' weights.
        discrete: menu indices instead of numbers in [-1, 1].
    """

    structural = True

    def __init__(self, ranks: int = 12, weight_bits: int = 32, discrete: bool = False) -> None:
        fixed = {"weight_bits": weight_bits}
        super().__init__([rank_axis(ranks)], discrete=discrete, fixed=fixed)


def rank_axis(ranks: int) -> Axis:
    """Returns `ranks` evenly spaced shares of the full rank, the last one whole.

    Raises:
        SpaceError: unless 2 <= ranks <= 1000.
    """
    check_whole(SpaceError, ranks=(ranks, 2, MOST_LEVELS))
    return Axis("rank", tuple(np.linspace(0, 1, ranks + 1)[1:].round(4).tolist()))


def channels_axis(lowest: float, levels: int) -> Axis:
    """Returns `levels` evenly spaced shares from `lowest` to 1.

    Raises:
        SpaceError: unless 0 < lowest < 1 and levels >= 2.
    """
    check_whole(SpaceError, channel_levels=(levels, 2, MOST_LEVELS))
    if not 0 < lowest < 1:
        raise SpaceError(f"`0 < lowest < 1` must hold, but got {lowest=}; change it.")
    return Axis("channels", tuple(np.linspace(lowest, 1.0, levels).round(4).tolist()))
