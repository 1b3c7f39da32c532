"""Costs: (LayerSpec, Choice) -> a whole number with a unit, one a file.

To add one, implement `Cost` and register its class in `COSTS`, or under the entry-point group
`autocomp.costs` of another package; it is called with an `CompressionStore`.
"""

from __future__ import annotations

import inspect

from autocomp.compression.store import CompressionStore
from autocomp.costs.base import Cost, estimated_cost, fixed_cost, layer_cost, reference_cost, total
from autocomp.costs.bitops import BitOps
from autocomp.costs.energy import Energy, EnergyTable
from autocomp.costs.latency.cost import Latency
from autocomp.costs.macs import Macs
from autocomp.costs.params import Params
from autocomp.costs.size import Size
from autocomp.costs.weight_memory import WeightMemory
from autocomp.errors import BudgetError
from autocomp.plugins.contracts import check_contract
from autocomp.plugins.registry import Factory, find

COSTS: dict[str, Factory] = {
    "size": Size,
    "params": Params,
    "macs": Macs,
    "bitops": BitOps,
    "latency": Latency,
    "weight_memory": WeightMemory,
    "energy": Energy,
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
    "Energy",
    "EnergyTable",
    "Latency",
    "Macs",
    "Params",
    "Size",
    "WeightMemory",
    "estimated_cost",
    "fixed_cost",
    "layer_cost",
    "make_cost",
    "reference_cost",
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
    factory = factory or find("cost", name, COSTS, GROUP)
    try:
        inspect.signature(factory).bind(store)
    except TypeError as problem:
        raise BudgetError(
            f"A cost is made of a CompressionStore, `store -> Cost`, but {name!r} is "
            f"{factory!r:.60} ({problem}); give a class or a function of one argument, or the cost "
            "itself, as Budget(MyCost(), 0.5)."
        ) from problem
    try:
        made: Cost = factory(store)
    except TypeError as problem:
        if not inspect.isclass(factory) or not inspect.isabstract(factory):
            raise
        raise BudgetError(
            f"A cost must have every method of Cost, but {name!r} lacks some ({problem}); write "
            "them."
        ) from None
    check_contract("cost", made, Cost, BudgetError)
    if name in COSTS and not isinstance(made, COSTS[name]):  # type: ignore[arg-type]
        raise BudgetError(
            f"A cost of your own must not have the name of a built-in one, but {name!r} is "
            f"{type(made).__qualname__}'s; name the class otherwise."
        )
    return made
