"""What the options of a costly layer are like, from some of its rows and some of its menu."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from autocomp.artifacts.records import weight_bits
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.output_error import OutputError
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.weights.pipeline import Pipeline
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec

COSTLY = 3e9
"""Rows * width^2 * options from which a layer's options are estimated: two seconds of one core."""
LARGE = 3e8
"""Weights * options from which those of a layer without moments are."""
ROWS, NUMBERS = 64, 1 << 19
"""Outputs of the layer, of each block, that stand for all; where they have no moments, weights."""
ANCHORS = 6
"""Sparsities of a menu that are worked out; those between them are interpolated."""
_FLOOR = 1e-9


@dataclass(frozen=True)
class Estimate:
    """One option, as far as it is known before it is made.

    Attributes:
        error: mean squared error of the layer's outputs, relative to their energy.
        bits: that the weight adds to a file.
    """

    error: float
    bits: float


class Corrections:
    """What a layer's options turned out to be, as shares of their estimates.

    A sample of rows errs for all options alike, and by a little more or less from harmless to harsh
    ones: between those that are known, shares are interpolated over the logarithm of the estimate.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Estimate, Estimate]] = []

    def add(self, expected: Estimate, exact: Estimate) -> None:
        """Takes an option that was made."""
        self._known.append((expected, exact))

    def applied(self, expected: Estimate) -> Estimate:
        """Returns the estimate of an option that is not made, corrected."""
        errors = [(e.error, x.error) for e, x in self._known]
        bits = [(e.bits, x.bits) for e, x in self._known]
        return Estimate(_corrected(expected.error, errors), _corrected(expected.bits, bits))


def _corrected(value: float, known: Sequence[tuple[float, float]]) -> float:
    points = sorted((np.log(e), np.log(x / e)) for e, x in known if e > 0 and x > 0)
    if not points or value <= 0:
        return value
    at, shares = zip(*points, strict=True)
    return float(value * np.exp(np.interp(np.log(value), at, shares)))


def option_cost(layer: LayerSpec) -> float:
    """Returns rows * width^2: what one option takes; 0 for a layer whose inputs are not seen."""
    if layer.kind == "embedding" or not layer.calls:
        return 0.0
    layout = Layout.of(layer)
    return float(layout.groups * layout.slices * layout.rows) * layout.width**2


def work_of(layer: LayerSpec, options: int) -> float:
    """Returns what making so many options takes, in operations; for telling how far that is."""
    cost = option_cost(layer)
    factor = Layout.of(layer).width ** 3 if cost else 0
    return factor + options * (cost + layer.n_weights)


def is_costly(layer: LayerSpec, options: int) -> bool:
    """Whether to estimate a menu of so many options instead of making all of them.

    Nothing makes up for errors of layers whose inputs are never seen: their options are cheap, and
    only their number times the layer's size counts. Grouped layers are never estimated: their
    matrices are small.
    """
    if layer.groups > 1:
        return False
    cost = option_cost(layer)
    return cost * options > COSTLY if cost else layer.n_weights * options > LARGE


def estimated(
    dense: Tensor, choices: Sequence[Choice], stats: LayerStatistics, pipeline: Pipeline
) -> dict[Choice, Estimate]:
    """Returns an estimate of every choice.

    A few sparsities at each bit-width, and all patterns, are worked out for a sample of the rows,
    evenly spread over the layer, as if they were all of it. Errors (their logarithms) and bits
    between them are interpolated over the sparsity by monotone cubics (PCHIP, Fritsch and Butland
    1984).

    Args:
        dense: the layer's weight.
        choices: the menu.
        stats: the layer's statistics.
        pipeline: what compresses.
    """
    part, some = _sample(dense, stats)
    share = dense.numel() / part.numel()
    worked = _anchors(choices)
    made = pipeline.run_all(part, worked, some)
    error = OutputError(part, some.gram)
    known = {
        choice: Estimate(
            error.of(one.weight), share * weight_bits(one.quantized or one.weight, choice)
        )
        for choice, one in zip(worked, made, strict=True)
    }
    if some.gram is not None:
        some.gram.forget()
    return {choice: _between(choice, known) for choice in choices}


def _sample(dense: Tensor, stats: LayerStatistics) -> tuple[Tensor, LayerStatistics]:
    """Returns some rows of a layer, as a layer of its own, with the statistics of its inputs."""
    layer = stats.layer
    layout = Layout.of(layer)
    wanted = min(ROWS if stats.gram else max(ROWS, NUMBERS // layer.inputs), layout.rows)
    first = torch.linspace(0, layout.rows - 1, wanted).round().long()
    rows = torch.cat([first + block * layout.rows for block in range(layout.groups)])
    part = dense.index_select(layer.out_axis, rows)
    small = replace(layer, shape=tuple(part.shape))
    gram = stats.gram
    if gram is not None:
        gram = replace(gram, layout=Layout.of(small), _memo={})
    return part, replace(stats, layer=small, gram=gram)


def _anchors(choices: Sequence[Choice]) -> list[Choice]:
    """Returns the choices that are worked out: patterns, and all of some sparsities."""
    sparsities = sorted({c.weights.sparsity for c in choices if not c.weights.pattern})
    places = np.linspace(0, len(sparsities) - 1, min(ANCHORS, len(sparsities))).round()
    chosen = {sparsities[int(place)] for place in places}
    anchors = [c for c in choices if c.weights.pattern or c.weights.sparsity in chosen]
    ends: dict[int, list[float]] = {}
    for c in anchors:
        if not c.weights.pattern:
            ends.setdefault(c.weights.bits, []).append(c.weights.sparsity)

    def inside(c: Choice) -> bool:
        own = ends.get(c.weights.bits, [])
        return len(own) > 1 and min(own) <= c.weights.sparsity <= max(own)

    return [c for c in choices if c in set(anchors) or not inside(c)]


def _between(choice: Choice, known: Mapping[Choice, Estimate]) -> Estimate:
    if choice in known:
        return known[choice]
    weights = choice.weights
    points = sorted(
        (c.weights.sparsity, e.error, e.bits)
        for c, e in known.items()
        if c.weights.bits == weights.bits and not c.weights.pattern
    )
    at = [sparsity for sparsity, _, _ in points]
    logs = np.log([max(error, _FLOOR) for _, error, _ in points])
    error = float(np.exp(PchipInterpolator(at, logs)(weights.sparsity)))
    bits = float(PchipInterpolator(at, [b for _, _, b in points])(weights.sparsity))
    return Estimate(error, bits)
