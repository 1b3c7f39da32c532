"""The contract of a cost."""

from __future__ import annotations

from typing import Protocol

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.plan import Plan


class Cost(Protocol):
    """A whole number per layer and choice, plus what no choice changes.

    Its contract (tests/costs): the neutral choice costs what the original layer costs; more
    sparsity or fewer bits never cost more (exceptions stated in the class); numbers are >= 0.

    Attributes:
        unit: the unit of every number ("bytes").
    """

    unit: str

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
