"""Taking a network apart for the file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.side import round_side
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL
from autocomp.core.plan import Plan
from autocomp.models.builder import noted_source


def packed(
    store: CompressionStore,
    plan: Plan,
    state: Mapping[str, Tensor],
    options: Mapping[str, CompressedLayer] | None = None,
) -> PackedModel:
    """Takes a network apart for the file.

    Args:
        store: makes the codes of each layer.
        plan: one choice per layer.
        state: the state dict that holds the side tensors as evaluated under `plan`; rounding them
            once more changes nothing.
        options: layer name -> what stands for the store's option of that choice.
    """
    network, others = store.network, options or {}
    source = noted_source(store.model)
    side = {name: state[name].detach().cpu() for name in network.side}
    if plan.side_bits == 16:
        side = round_side(side, store.side_form)
    frozen = {layer.parameter for layer in network.frozen}
    unchanged = (*network.exact, *network.unsupported, *sorted(frozen))
    return PackedModel(
        plan=plan,
        layers=tuple(LayerEntry(x.name, x.parameter, x.host) for x in network.layers),
        weights={
            x.parameter: others[x.name].weight
            if x.name in others
            else store.weight(x, plan[x.name])
            for x in network.layers
        },
        side=side,
        exact={name: state[name].detach().cpu() for name in unchanged},
        norms=tuple(store.side_form.norms),
        wide=store.side_form.wide,
        aliases=dict(network.aliases),
        activations={
            x.name: store.activation(x, plan[x.name].activations.bits)
            for x in network.layers
            if plan[x.name].activations.bits < NEUTRAL.activations.bits
        },
        source=None if source is None else source.to_json(),
        structure=store.record,
    )
