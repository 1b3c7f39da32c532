"""What calling any network in onnxruntime takes, which no plan can change."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from autocomp.runtime.clock import REPEATS, Clock, median_time
from autocomp.runtime.libraries import library
from autocomp.runtime.model_proto import assembled, serialized
from autocomp.runtime.runner import Runner


def call_overhead(threads: int = 1, clock: Clock = time.perf_counter_ns) -> int:
    """Returns the nanoseconds of a network that only hands one number on; measured once."""
    return _measured(threads, clock)


@cache
def _measured(threads: int, clock: Clock) -> int:
    library("onnx")
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    runner = Runner(serialized(assembled(graph)), threads, np.zeros(1, np.float32))
    return median_time(runner, 4 * REPEATS, clock)
