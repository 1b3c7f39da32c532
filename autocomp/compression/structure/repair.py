"""Making up for units that are gone: least squares on what their readers still get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.least_squares import refit
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.compression.structure.surgery import Kept, zero_columns, zero_inputs
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network


@torch.no_grad()
def repair(
    model: nn.Module, network: Network, moments: Mapping[str, Gram],
    groups: Sequence[ChannelGroup], kept: Kept,
) -> None:  # fmt: skip
    """Gives every layer that reads removed units the weights that best do without them, in place.

    W' = W G[:, S] G[S, S]^-1 on the inputs S that stay, with G = E[x x^T] of the dense network's
    inputs (around the mean where a bias or a batch norm takes up the shift), and
    b' = b + (W - W') E[x] (He et al. 2017, arXiv:1707.06168). Layers whose moments are not known
    keep their weights. The removed columns end as zeros.

    Args:
        model: full width; changed.
        network: its layers.
        moments: layer name -> moments of its inputs.
        groups: the groups.
        kept: group name -> units that stay.
    """
    for layer, gone in removed_inputs(model, network, groups, kept).items():
        module: Any = model.get_submodule(layer.owner)
        weight = module.weight
        old = weight.detach().clone()
        zero_inputs(module, gone)
        gram = moments.get(layer.name)
        if gram is None:
            continue
        stay = column_mask(layer, gone)
        fitted = refit(gram, gram.layout.split(old.cpu()), gram.layout.split(stay) > 0)
        new = gram.layout.join(fitted).to(weight.device, weight.dtype) * stay.to(weight)
        weight.copy_(new)
        if module.bias is not None:
            module.bias.sub_(gram.shift((new - old).cpu()).to(module.bias))


def removed_inputs(
    model: nn.Module, network: Network, groups: Sequence[ChannelGroup], kept: Kept
) -> dict[LayerSpec, list[int]]:
    """Returns the layers that read units that do not stay -> the places of those inputs."""
    layers = {layer.parameter: layer for layer in network.layers}
    found: dict[LayerSpec, list[int]] = {}
    for group in groups:
        gone = group.without(kept.get(group.name))
        for member in group.by_role("in"):
            layer = layers.get(f"{member.module}.weight" if member.module else "weight")
            if layer is not None and gone:
                found.setdefault(layer, []).extend(member.of(gone))
    return found


def column_mask(layer: LayerSpec, gone: Sequence[int]) -> Tensor:
    """Returns a float tensor of the weight's shape: 0 where it reads one of these inputs, else 1.

    Args:
        layer: the layer.
        gone: places among all its inputs.
    """
    mask = torch.ones(layer.shape)
    zero_columns(mask, layer.groups, layer.out_axis == 1, gone)
    return mask
