"""The contract of a cost."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable

from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.plan import Plan
from autocomp.errors import BudgetError


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

    @abstractmethod
    def of_layer(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns the cost of `layer` under `choice`."""
        ...

    def estimate(self, layer: LayerSpec, choice: Choice) -> int:
        """Returns `of_layer`, or a little more where the option would have to be made for it.

        What tables of whole menus hold; plans that are evaluated are charged `of_layer`.
        """
        return self.of_layer(layer, choice)

    @abstractmethod
    def fixed(self, side_bits: int) -> int:
        """Returns what the rest of the network costs.

        Args:
            side_bits: 16 or 32, see `Plan.side_bits`.
        """
        ...

    @property
    @abstractmethod
    def reference(self) -> int:
        """The dense network's cost, which ratio budgets refer to."""
        ...


def total(cost: Cost, network: Network, plan: Plan) -> int:
    """Returns the cost of the whole network under `plan`."""
    layers = sum(layer_cost(cost, layer, plan[layer.name]) for layer in network.layers)
    return layers + fixed_cost(cost, plan.side_bits)


def layer_cost(cost: Cost, layer: LayerSpec, choice: Choice) -> int:
    """Returns `cost.of_layer(layer, choice)`; BudgetError if it is no whole number >= 0."""
    return _whole(cost, "of_layer", cost.of_layer(layer, choice))


def estimated_cost(cost: Cost, layer: LayerSpec, choice: Choice) -> int:
    """Returns `cost.estimate(layer, choice)`; BudgetError if it is no whole number >= 0."""
    return _whole(cost, "of_layer", cost.estimate(layer, choice))


def fixed_cost(cost: Cost, side_bits: int) -> int:
    """Returns `cost.fixed(side_bits)`; BudgetError if it is no whole number >= 0."""
    return _whole(cost, "fixed", cost.fixed(side_bits))


def reference_cost(cost: Cost) -> int:
    """Returns `cost.reference`; BudgetError if it is no whole number >= 0."""
    return _whole(cost, "reference", cost.reference)


def _whole(cost: Cost, member: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BudgetError(
            f"A cost must be a whole number that is not negative, but {member} of "
            f"{type(cost).__name__} gave {value!r:.60}; return an int, rounded up."
        )
    return value
