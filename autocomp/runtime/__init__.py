"""onnxruntime: one tracer, one session, one clock.

Everything that is timed or run in onnxruntime passes here, a single layer for a latency budget as
well as an exported file: `trace` makes a network an ONNX graph, `open_session` loads one, `Runner`
binds its input, and `interleaved` tells the time. Two numbers that a search compares are therefore
measured in the same way.

What cannot be traced, loaded or run, and a library that is missing, raise ModelError; a file that
is no ONNX file raises ArtifactError.
"""

from __future__ import annotations

from autocomp.runtime.clock import REPEATS, Clock, interleaved, median_time
from autocomp.runtime.libraries import is_available, library
from autocomp.runtime.model_proto import OPSET, assembled, probe_model, serialized
from autocomp.runtime.network import Comparison, Source, compare, latencies, network_latency, noise
from autocomp.runtime.overhead import call_overhead
from autocomp.runtime.runner import Runner
from autocomp.runtime.session import open_session, run, sums_overflow
from autocomp.runtime.trace import Hook, bare, trace

__all__ = [
    "OPSET",
    "REPEATS",
    "Clock",
    "Comparison",
    "Hook",
    "Runner",
    "Source",
    "assembled",
    "bare",
    "call_overhead",
    "compare",
    "interleaved",
    "is_available",
    "latencies",
    "library",
    "median_time",
    "network_latency",
    "noise",
    "open_session",
    "probe_model",
    "run",
    "serialized",
    "sums_overflow",
    "trace",
]
