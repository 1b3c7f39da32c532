"""Measured seconds: of single layers, of whole networks, and as a cost."""

from __future__ import annotations

from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.machine import Machine
from autocomp.costs.latency.measure import measure_geometry
from autocomp.costs.latency.precision import FLOAT32, INT8, Precision, runs_as
from autocomp.costs.latency.table import LatencyTable
from autocomp.network.activation_memory import peak_activation_bytes
from autocomp.runtime.network import Comparison, compare, network_latency
from autocomp.runtime.runner import is_available

__all__ = [
    "FLOAT32",
    "INT8",
    "Comparison",
    "Geometry",
    "LatencyTable",
    "Machine",
    "Precision",
    "compare",
    "is_available",
    "measure_geometry",
    "network_latency",
    "peak_activation_bytes",
    "runs_as",
]
