"""Measured time of single layers, and as a cost; `autocomp.runtime` times whole networks."""

from __future__ import annotations

from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.machine import Machine
from autocomp.costs.latency.measure import measure_geometry
from autocomp.costs.latency.precision import FLOAT32, INT8, Precision, runs_as
from autocomp.costs.latency.table import LatencyTable
from autocomp.network.activation_memory import peak_activation_bytes

__all__ = [
    "FLOAT32",
    "INT8",
    "Geometry",
    "LatencyTable",
    "Machine",
    "Precision",
    "measure_geometry",
    "peak_activation_bytes",
    "runs_as",
]
