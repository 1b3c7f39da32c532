"""The contract of a cost."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.plan import Plan


@runtime_checkable
class Cost(Protocol):
    """A whole number per layer and choice, plus what no choice changes. Inherit from this class.

    It is made of a `CompressionStore`: a class, or a function, `store -> Cost` is what is
    registered. `autocomp.testing.CostContract` holds its contract: the neutral choice costs what
    the original layer costs; more sparsity or fewer bits never cost more (exceptions stated in the
    class); numbers are >= 0.

    Attributes:
        unit: the unit of every number ("bytes").
        measured: whether it is a measurement of the dense network. Networks that have lost
            channels then ask the dense network's object, layers of lower rank cannot be asked, and
            a search ends with a measurement of the whole network.
    """

    unit: str
    measured: bool = False

    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the cost of `layer` under `choice`."""
        ...

    def fixed(self, side_bits: int) -> int:
        """Returns what the rest of the network costs.

        Args:
            side_bits: 16 or 32, see `Plan.side_bits`.
        """
        ...

    @property
    def reference(self) -> int:
        """The dense network's cost, which ratio budgets refer to."""
        ...


def total(cost: Cost, network: Network, plan: Plan) -> int:
    """Returns the cost of the whole network under `plan`."""
    layers = sum(cost.of_layer(layer, plan[layer.name]) for layer in network.layers)
    return layers + cost.fixed(plan.side_bits)
