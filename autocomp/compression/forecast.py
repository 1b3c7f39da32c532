"""How long a search on a network needs until its first evaluation, and how much memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from autocomp.compression.estimates import ROWS, is_costly, option_cost
from autocomp.compression.recovery.layout import Layout
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network

OPTIONS = 120
"""Choices a layer, as the default space's menus have."""
_MADE = 8
"""Options of a layer with estimates that are made, about."""
_PASSES, _SLOPE_PASSES, _SLOPE_MACS = 1500, 640, 2e12
"""Forward passes of one input, with 128 for calibration and 256 for the search; those a layer
that measure its effect, and the multiply-accumulates that they are cut to."""
_SECONDS_AN_OPERATION = {"made": 8.4e-12, "codes": 4.6e-7, "estimated": 1.24e-10, "macs": 9.3e-12}
_SECONDS_A_LAYER = 0.165
_GIGABYTES, _A_MOMENT, _A_CODE, _A_WEIGHT = 0.96, 1.9e-9, 1.2e-9, 1.5e-7
"""Fitted to `benchmarks/scale.py` on nine networks of 0.3 to 26 million weights, two threads:
seconds within 8 %, gigabytes within 28 % (docs/benchmarks.md)."""
_PRODUCT_SIZE, _PRODUCT_SECONDS = 768, 0.0040
"""Side of two matrices in float32, and how long their product takes there."""


@dataclass(frozen=True)
class Forecast:
    """What a search needs before its first evaluation, about.

    With the default space, 128 calibration inputs and nothing in the cache.

    Attributes:
        seconds: on torch's present number of threads.
        gigabytes: of memory, at the peak.
    """

    seconds: float
    gigabytes: float

    @classmethod
    def of(cls, network: Network, slowness: float | None = None) -> Forecast:
        """Forecasts for a network.

        Args:
            network: its layers.
            slowness: this machine's time for a product of matrices, as a share of the time on the
                machine that the forecast was fitted on; None measures it.
        """
        layers = network.layers
        made = [x for x in layers if not is_costly(x, OPTIONS)]
        estimated = [x for x in layers if is_costly(x, OPTIONS)]
        codes = float(OPTIONS * sum(x.n_weights for x in made))
        slopes = min(_SLOPE_MACS, float(_SLOPE_PASSES) * len(layers) * network.macs)
        work = {
            "made": OPTIONS * sum(map(option_cost, made)),
            "codes": codes,
            "estimated": sum((OPTIONS * _share(x) + _MADE) * option_cost(x) for x in estimated),
            "macs": _PASSES * network.macs + slopes,
        }
        seconds = sum(_SECONDS_AN_OPERATION[name] * count for name, count in work.items())
        memory = _A_MOMENT * sum(map(_moment_bytes, layers)) + _A_CODE * codes
        return cls(
            (seconds + _SECONDS_A_LAYER * len(layers)) * (slowness or _slowness()),
            _GIGABYTES + memory + _A_WEIGHT * sum(x.n_weights for x in layers),
        )

    def __str__(self) -> str:
        minutes = self.seconds / 60
        told = f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{self.seconds:.0f} seconds"
        return f"{told} and {self.gigabytes:.1f} GB"


def _share(layer: LayerSpec) -> float:
    """Returns which share of a layer's rows its estimates stand on."""
    return min(1.0, ROWS / Layout.of(layer).rows)


def _moment_bytes(layer: LayerSpec) -> int:
    if not option_cost(layer):
        return 0
    layout = Layout.of(layer)
    return 8 * layout.groups * layout.slices * layout.width**2


def _slowness() -> float:
    """Returns the shortest of some products' times, as a share of the reference."""
    matrix = torch.ones(_PRODUCT_SIZE, _PRODUCT_SIZE)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return min(times) / _PRODUCT_SECONDS
