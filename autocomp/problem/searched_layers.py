"""Which layers of a network are searched: those in which a weight takes part in the outputs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from autocomp.core.network import Network
from autocomp.core.structured import Inputs
from autocomp.network.analysis import analyse
from autocomp.network.faithful import without_effect

FEW = 4
"""Inputs on which a network is looked at before anything is made of it."""
_COUNTED = {"macs", "bitops", "latency"}
"""Costs of a layer's operations, which are seen where the layer is called."""


def searched_layers(
    model: nn.Module, network: Network, inputs: Inputs, keep: Sequence[str], costs: Iterable[str]
) -> Network:
    """Returns a network's layers; those without part in its outputs are frozen, and named.

    Args:
        model: the network; its weights are put back.
        network: its layers, as `analyse` found them.
        inputs: a batch of its inputs.
        keep: names of layers to leave alone.
        costs: names of the costs that have budgets.

    Raises:
        ModelError: if no weight has a part in the outputs.
    """
    weights = {x.name: model.get_parameter(x.parameter) for x in network.layers}
    idle = without_effect(model, weights, inputs[:FEW])
    if idle:
        found = analyse(model, inputs, (*keep, *idle))
        network = replace(found, unread=(*found.unread, *idle))
    _tell(network, set(costs))
    return network


def _tell(network: Network, costs: set[str]) -> None:
    """Names the layers that stay dense, and those whose operations are not counted."""
    unread = network.unread
    if unread:
        warnings.warn(
            f"{len(unread)} layers stay dense, because their weights have no part in the "
            f"network's forward pass: {', '.join(map(repr, unread[:3]))}"
            f"{', ...' if len(unread) > 3 else ''}.",
            RuntimeWarning,
            stacklevel=4,
        )
    silent = [x.name for x in network.layers if not x.calls]
    if silent and costs & _COUNTED:
        warnings.warn(
            f"{len(silent)} layers are used without being called, so that their operations count "
            f"as if nothing removed any: {', '.join(map(repr, silent[:3]))}; call the modules.",
            RuntimeWarning,
            stacklevel=4,
        )
    if network.uncounted and costs & {"macs", "bitops"}:
        warnings.warn(
            f"{len(network.uncounted)} kinds of operations multiply in ways that MACs do not "
            f"count: {', '.join(network.uncounted[:3])}; a latency budget measures them.",
            RuntimeWarning,
            stacklevel=4,
        )
