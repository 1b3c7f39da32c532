"""Costs: (LayerSpec, Choice) -> a whole number with a unit, one a file.

To add one, implement `Cost` and register its class in `COSTS`, or under the entry-point group
`autocomp.costs` of another package; it is called with an `CompressionStore`.
"""

from __future__ import annotations

from autocomp.compression.store import CompressionStore
from autocomp.costs.base import Cost, total
from autocomp.costs.bitops import BitOps
from autocomp.costs.latency.cost import Latency
from autocomp.costs.macs import Macs
from autocomp.costs.params import Params
from autocomp.costs.size import Size
from autocomp.plugins.registry import Factory, find

COSTS: dict[str, Factory] = {
    "size": Size,
    "params": Params,
    "macs": Macs,
    "bitops": BitOps,
    "latency": Latency,
}
ALWAYS = ("size", "params", "macs", "bitops")
"""What every outcome tells; other costs only where a budget names them."""
GROUP = "autocomp.costs"

__all__ = [
    "ALWAYS",
    "COSTS",
    "GROUP",
    "BitOps",
    "Cost",
    "Latency",
    "Macs",
    "Params",
    "Size",
    "make_cost",
    "total",
]


def make_cost(name: str, store: CompressionStore) -> Cost:
    """Builds the cost registered as `name`; UnknownNameError if there is none."""
    cost: Cost = find("cost", name, COSTS, GROUP)(store)
    return cost
