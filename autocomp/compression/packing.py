"""Taking a network apart for the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.side import round_side
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.store import CompressionStore
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.plan import Plan
from autocomp.models.builder import noted_source
from autocomp.network.quantizers import output_quantizer_of, quantizer_of


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
    wanted, earlier = plan, store.earlier
    source = noted_source(store.model)
    known: Mapping[str, Any] | None = None if source is None else source.to_json()
    if known is None and earlier is not None:
        known = earlier.source
    plan = Plan({x.name: x.in_effect(plan[x.name]) for x in network.layers})
    side = {name: state[name].detach().cpu() for name in network.side}
    if plan.side_bits == 16:
        side = round_side(side, store.side_form)
    # layers that are left alone in a network that rounds values already: the file says so, too
    rounding = [x for x in network.frozen if x.in_effect(NEUTRAL) != NEUTRAL]
    plan = Plan({**plan, **{x.name: x.in_effect(NEUTRAL) for x in rounding}})
    wanted = Plan({**wanted, **{x.name: NEUTRAL for x in rounding}})
    layers = (*network.layers, *rounding)
    frozen = {x.parameter for x in network.frozen if x not in rounding}
    unchanged = (*network.exact, *network.unsupported, *sorted(frozen))
    return PackedModel(
        plan=plan,
        layers=tuple(LayerEntry(x.name, x.parameter, x.host) for x in layers),
        weights={
            **{
                x.parameter: others[x.name].weight
                if x.name in others
                else store.weight(x, plan[x.name])
                for x in network.layers
            },
            **{x.parameter: state[x.parameter].detach().cpu() for x in rounding},
        },
        side=side,
        exact={name: state[name].detach().cpu() for name in unchanged},
        norms=tuple(store.side_form.norms),
        wide=store.side_form.wide,
        aliases=dict(network.aliases),
        activations={
            x.name: _quantizer(store, x, plan[x.name].activations.bits, wanted[x.name])
            for x in layers
            if plan[x.name].activations.bits < NEUTRAL.activations.bits
        },
        outputs={
            x.name: _outputs(store, x, wanted[x.name])
            for x in layers
            if plan[x.name].activations.output_bits < NEUTRAL.activations.output_bits
        },
        source=known,
        structure=_structure(store.record, earlier),
        history=() if earlier is None else (*earlier.history, earlier.plan),
    )


def _quantizer(
    store: CompressionStore, layer: LayerSpec, bits: int, wanted: Choice
) -> ActivationQuantizer:
    """Returns what rounds a layer's inputs: the plan's quantizer, or the network's own."""
    own = quantizer_of(store.model.get_submodule(layer.host))
    if wanted.activations.bits == NEUTRAL.activations.bits and own is not None:
        return own
    return store.activation(layer, bits)


def _outputs(
    store: CompressionStore, layer: LayerSpec, wanted: Choice
) -> tuple[OutputQuantizer, ...]:
    """Returns what rounds a layer's outputs: the plan's quantizers, or the network's own."""
    if wanted.activations.output_bits < NEUTRAL.activations.output_bits:
        return store.outputs(layer, wanted.activations.output_bits)
    own = (output_quantizer_of(store.model.get_submodule(s.module)) for s in layer.output_sites)
    return tuple(x for x in own if x is not None)


def _structure(
    record: Mapping[str, Any] | None, earlier: PackedModel | None
) -> Mapping[str, Any] | None:
    """Returns how the original architecture becomes this one, step by step."""
    before = None if earlier is None else earlier.structure
    return record if before is None else {**(record or {}), "before": before}
