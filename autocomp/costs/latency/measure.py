"""The time of one layer on its own."""

from __future__ import annotations

import time

import numpy as np

from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.layer_model import input_of, layer_model
from autocomp.costs.latency.precision import FLOAT32, PRECISIONS, Precision
from autocomp.errors import ModelError
from autocomp.runtime import REPEATS, Clock, Runner, call_overhead, median_time


def measure_geometry(
    geometry: Geometry,
    precision: Precision = FLOAT32,
    threads: int = 1,
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter_ns,
) -> int:
    """Returns the time of one call of a layer in whole nanoseconds, at least 1.

    The median of `repeats` calls of a one-layer network in onnxruntime, without what calling an
    empty network takes, which a real network pays once and not a layer. A convolution's time holds
    the change into the blocked memory layout and back, of which a chain of convolutions needs one.
    Before each call `geometry.others` bytes are read, then the input: without that, the layers of a
    network of 37 MB of weights took 1.3 ms in sum, with it 2.2, and the whole network 2.2.

    Args:
        geometry: the layer.
        precision: one of `PRECISIONS`; see `runs_as` for what a choice runs as.
        threads: threads within the operator, at least 1.
        repeats: timed calls; fewer for a layer that takes long.
        clock: tells the time in nanoseconds.

    Raises:
        ModelError: if onnxruntime is missing or an argument is out of range.
    """
    if precision not in PRECISIONS:
        raise ModelError(
            f"A layer can run as {', '.join(map(str, PRECISIONS))}, but got {precision}; "
            "`runs_as` says as what a choice runs."
        )
    given, others = input_of(geometry), np.ones(geometry.others // 4, np.float32)

    def displace() -> None:
        others.sum()
        given.sum()

    runner = Runner(layer_model(geometry, precision), threads, given)
    return max(1, median_time(runner, repeats, clock, displace) - call_overhead(threads, clock))
