"""Repair front to back: every layer for the inputs that it really gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autocomp.compression.calibration.moments import absorbing_layers
from autocomp.compression.calibration.norms import NormCorrection, install, running
from autocomp.compression.recovery.least_squares import refit
from autocomp.compression.recovery.sequential import PairedRuns
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.compression.structure.repair import column_mask, removed_inputs
from autocomp.compression.structure.surgery import Kept, zero_inputs
from autocomp.core.network import Network
from autocomp.core.structured import Inputs


@torch.no_grad()
def repair_sequentially(
    dense: nn.Module,
    model: nn.Module,
    network: Network,
    groups: Sequence[ChannelGroup],
    kept: Kept,
    batches: Sequence[Inputs],
    correction: NormCorrection,
) -> None:
    """Gives every layer, in forward order, the weights that best make the dense layer's outputs.

    From what is left of its inputs z, and with all layers before it repaired already,

        W' = argmin E |W x - W' z|^2 + r |W' - W|^2 with W' = 0 on what is gone

    (asymmetric reconstruction: He et al. 2017, arXiv:1707.06168). Batch norms are corrected before
    each layer's inputs are looked at.

    Args:
        dense: the dense network, in evaluation mode.
        model: a copy of it at full width; changed.
        network: its layers.
        groups: the groups.
        kept: group name -> units that stay.
        batches: calibration inputs.
        correction: the dense network's correction on the calibration inputs.
    """
    removed = {x.name: gone for x, gone in removed_inputs(model, network, groups, kept).items()}
    for layer in network.layers:  # first of all nothing reads what is gone
        if layer.name in removed:
            host = layer.owner
            zero_inputs(model.get_submodule(host), removed[layer.name])
    absorbing = absorbing_layers(dense, network, batches[0][:2])
    norms = correction.sliced(model, {}).front_to_back()
    runs = PairedRuns(dense, model, batches)
    started = False
    for layer in network.layers:
        started = started or layer.name in removed
        if not started or layer.kind in ("embedding", "attention"):
            continue  # nothing before it has changed
        install(model, norms.before(layer.host))
        moments = runs.moments(layer, layer.name in absorbing)
        if moments is None or not moments.suffices:
            continue
        module: Any = model.get_submodule(layer.owner)
        old = dense.get_parameter(layer.parameter).detach().cpu()
        stay = column_mask(layer, removed.get(layer.name, ()))
        layout = moments.gram.layout
        target = layout.split(moments.target(old))
        fitted = refit(moments.gram, target, layout.split(stay) > 0)
        new = (layout.join(fitted) * stay).to(module.weight.device, module.weight.dtype)
        module.weight.copy_(new)
        if module.bias is not None:
            bias = dense.get_parameter(layer.parameter.removesuffix("weight") + "bias")
            module.bias.copy_(bias - moments.shift(old, new.cpu()).to(bias))
    install(model, running(dense))  # the statistics are corrected once the network is sliced
