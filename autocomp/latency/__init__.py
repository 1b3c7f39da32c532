"""Measured seconds: of single layers, of whole networks, and as a cost."""

from __future__ import annotations

from autocomp.latency.activations import peak_activation_bytes
from autocomp.latency.geometry import Geometry
from autocomp.latency.machine import Machine
from autocomp.latency.measure import measure_geometry
from autocomp.latency.network import Comparison, compare, network_latency
from autocomp.latency.precision import FLOAT32, INT8, Precision, runs_as
from autocomp.latency.runtime import is_available
from autocomp.latency.table import LatencyTable

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
