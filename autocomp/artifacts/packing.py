"""Taking a network apart for the file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.calibration import host_module
from autocomp.models.builder import noted_source
from autocomp.options import OptionStore
from autocomp.plan import NEUTRAL, Plan


def packed(store: OptionStore, plan: Plan, state: Mapping[str, Tensor]) -> PackedModel:
    """Takes a network apart for the file.

    Args:
        store: makes the codes of each layer.
        plan: one choice per layer.
        state: the state dict that holds the side tensors as evaluated under `plan`.
    """
    network = store.network
    source = noted_source(store.model)
    kept = {layer.parameter for layer in network.kept}
    unchanged = (*network.exact, *network.unsupported, *sorted(kept))
    return PackedModel(
        plan=plan,
        layers=tuple(LayerEntry(x.name, x.parameter, host_module(x)) for x in network.layers),
        weights={x.parameter: store.weight(x, plan[x.name]) for x in network.layers},
        side={name: state[name].detach().cpu() for name in network.side},
        exact={name: state[name].detach().cpu() for name in unchanged},
        aliases=dict(network.aliases),
        activations={
            x.name: store.activation(x, plan[x.name].activation_bits)
            for x in network.layers
            if plan[x.name].activation_bits < NEUTRAL.activation_bits
        },
        source=None if source is None else source.to_json(),
    )
