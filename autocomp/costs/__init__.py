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
from autocomp.errors import BudgetError
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


def make_cost(name: str, store: CompressionStore, factory: Factory | None = None) -> Cost:
    """Builds a cost of a network.

    Args:
        name: its name, for messages where a factory is given.
        store: the network and its compressed layers.
        factory: what makes it; what is registered as `name` if None.

    Raises:
        UnknownNameError: if nothing is registered so.
        BudgetError: if what is made is no cost.
    """
    made = (factory or find("cost", name, COSTS, GROUP))(store)
    if not isinstance(made, Cost):
        raise BudgetError(
            f"A cost must have every method of autocomp.costs.Cost, but {name!r} makes a "
            f"{type(made).__name__} that lacks some; inherit from that class."
        )
    return made
