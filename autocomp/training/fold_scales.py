"""Scales that a batch norm behind the layer can hold: left out of the file.

A batch norm multiplies each channel by a gain, which the file holds anyway; a scale of its own for
each channel in front of it says nothing more. One scale for the whole layer takes next to no bytes:
what the codes get is some 4 bits a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.artifacts.packed import PackedModel
from autocomp.compression.noted_file import note_file
from autocomp.core.quantized import Quantized
from autocomp.core.structured import Inputs
from autocomp.network.rebinding import copy_network

_CLOSE = 1e-4
"""Largest difference of the outputs, relative to the largest, that rounding explains."""


@dataclass(frozen=True)
class Folded:
    """A network whose scales went into its batch norms.

    Attributes:
        network: the network; it computes the same.
        packed: its file, but for the values of norms.
        factors: weight -> what it was multiplied by, broadcast over it.
    """

    network: nn.Module
    packed: PackedModel
    factors: Mapping[str, Tensor]

    def source(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns floating weights, multiplied as the network's own were."""
        found = dict(tensors)
        for name, factor in self.factors.items():
            known = found.get(name)
            if known is not None and known.dim() == factor.dim():
                found[name] = known.detach() * factor.to(known.device)
        return found


def fold_scales(network: nn.Module, packed: PackedModel, few: Inputs) -> Folded:
    """Puts the scales of layers in front of fused batch norms into those.

    Args:
        network: of the file, in evaluation mode; not changed.
        packed: the file.
        few: inputs, on which the result has to compute the same.
    """
    none = Folded(network, packed, {})
    if packed.plan.side_bits != 16 or not packed.norms:
        return none
    made = copy_network(network)
    weights, factors = dict(packed.weights), {}
    for name, norm in _pairs(made, packed, few).items():
        stored = weights[name]
        assert isinstance(stored, Quantized)
        one = stored.scale.flatten().sort().values[stored.scale.numel() // 2]
        factor = one / stored.scale
        alike = Quantized(stored.codes, torch.full_like(stored.scale, float(one)))
        weights[name] = alike
        factors[name] = factor
        with torch.no_grad():
            host: Any = made.get_submodule(name.rpartition(".")[0])
            host.weight.copy_(alike.dequantize(host.weight.dtype))
            gain: Any = made.get_submodule(norm)
            gain.weight.div_(factor.flatten().to(gain.weight))
    if not factors or not _same(network, made, few):
        return none
    # its norms are written from the network, once they are rounded
    found = replace(packed, weights=weights)
    note_file(made, found)
    return Folded(made, found, factors)


def _pairs(network: nn.Module, packed: PackedModel, few: Inputs) -> dict[str, str]:
    """Returns weight -> the fused norm that alone sees the layer's outputs, called once each."""
    outputs: dict[int, tuple[str, Tensor]] = {}
    calls: dict[str, int] = {}
    found: dict[str, str] = {}
    handles = []

    def after(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor):
                outputs[id(output)] = (name, output)  # kept, so that no other gets its place

        return note

    def before(norm: str) -> Any:
        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            calls[norm] = calls.get(norm, 0) + 1
            known = outputs.get(id(inputs[0])) if inputs else None
            if known is not None:
                found[known[0]] = norm

        return look

    tied = set(packed.aliases) | set(packed.aliases.values())
    for layer in packed.layers:
        stored, host = packed.weights[layer.parameter], network.get_submodule(layer.host)
        plain = layer.parameter == f"{layer.host}.weight" and layer.parameter not in tied
        if isinstance(stored, Quantized) and plain and _is_per_output(stored, host):
            handles.append(host.register_forward_hook(after(layer.parameter)))
    for norm in packed.norms:
        module: Any = network.get_submodule(norm)
        fused = bool((module.running_mean == 0).all()) and bool((module.running_var == 1).all())
        if fused and f"{norm}.weight" not in tied:
            handles.append(module.register_forward_pre_hook(before(norm)))
    try:
        with torch.inference_mode():
            network(few)
    finally:
        for handle in handles:
            handle.remove()
    return {w: n for w, n in found.items() if calls[w] == calls[n] == 1}


def _is_per_output(stored: Quantized, host: nn.Module) -> bool:
    """Whether a layer without a bias has a scale for each output channel, its first axis."""
    known = isinstance(host, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)) and host.bias is None
    return known and stored.scale.numel() == stored.scale.shape[0] == stored.codes.shape[0] > 1


def _same(first: nn.Module, second: nn.Module, few: Inputs) -> bool:
    with torch.inference_mode():
        a, b = first(few), second(few)
    return float((a - b).abs().max()) <= _CLOSE * max(1.0, float(a.abs().max()))
