"""Low-rank forms as part of a plan: which rank a share means, what its factors cost, its weight."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from autocomp.compression.low_rank import Blueprint, applies_to, blueprint, decompose, useful_ranks
from autocomp.compression.recovery.gram import Gram
from autocomp.core.layer_spec import LayerSpec

FALLBACK = "data-svd"
"""Takes the place of a method that a layer has no form of (Tucker of a linear layer)."""


class LowRank:
    """Chains of plain layers in place of single ones, by one method.

    Args:
        method: a name of `autocomp decompositions`; layers that have no form of that kind take
            `data-svd`.
    """

    def __init__(self, method: str = FALLBACK) -> None:
        self.method = method
        self._factors: dict[tuple[Any, ...], tuple[LayerSpec, ...]] = {}

    def full_rank(self, layer: LayerSpec) -> int:
        """Returns the largest rank with fewer weights than the layer; 0 if there is none."""
        if layer.kind not in ("conv", "linear") or layer.calls > 1:
            return 0
        shape = replace(layer, name="", parameter="", full_rank=0, units=0)
        return _useful(shape, self._method(layer))

    def rank(self, layer: LayerSpec, share: float) -> int:
        """Returns the rank that a share means for a layer as it is; 0 leaves it whole."""
        return replace(layer, full_rank=self.full_rank(layer)).rank_kept(share)

    def factors(self, layer: LayerSpec, module: nn.Module, rank: int) -> tuple[LayerSpec, ...]:
        """Returns the layers that stand for a layer, as an analysis of the network would.

        Args:
            layer: the layer, perhaps sliced.
            module: the dense layer's module; gives stride and padding.
            rank: the rank.
        """
        key = (layer.name, layer.shape, rank)
        if key not in self._factors:
            chain = self._blueprint(layer, module, rank).specs(layer.input_shape)
            self._factors[key] = tuple(
                replace(x, name=f"{layer.name}.{x.name}", macs=x.macs * layer.calls) for x in chain
            )
        return self._factors[key]

    def replace(self, model: nn.Module, layer: LayerSpec, rank: int, gram: Gram | None) -> int:
        """Puts a layer's chain into the network; returns how many layers it has."""
        host = layer.owner
        chain = self.chain(model, layer, rank, gram)
        parent, _, attribute = host.rpartition(".")
        setattr(model.get_submodule(parent), attribute, chain)
        return len(chain)

    def chain(
        self, model: nn.Module, layer: LayerSpec, rank: int, gram: Gram | None
    ) -> nn.Sequential:
        """Returns the chain that stands for a layer of the network."""
        module = model.get_submodule(layer.owner)
        method = self._method(layer)
        if gram is None or gram.layout.layer.shape != layer.shape:
            gram, method = None, "svd" if method == FALLBACK else method
        return decompose(module, method, rank, gram)

    def _method(self, layer: LayerSpec) -> str:
        return self.method if applies_to(layer, self.method) else FALLBACK

    def _blueprint(self, layer: LayerSpec, module: nn.Module, rank: int) -> Blueprint:
        # the sliced layer's channels, the dense module's stride and padding
        small: Any = type(module).__new__(type(module))
        nn.Module.__init__(small)
        small.__dict__.update({k: v for k, v in module.__dict__.items() if k[0] != "_"})
        for name in ("padding_mode", "_reversed_padding_repeated_twice"):
            if name in module.__dict__:
                small.__dict__[name] = module.__dict__[name]
        small.weight = nn.Parameter(torch.empty(layer.shape), requires_grad=False)
        bias = module._parameters.get("bias")
        small.bias = None
        if bias is not None:
            small.bias = nn.Parameter(torch.empty(layer.shape[0]), requires_grad=False)
        if layer.kind == "conv":
            small.in_channels, small.out_channels = layer.inputs, layer.outputs
        else:
            small.in_features, small.out_features = layer.inputs, layer.outputs
        return blueprint(small, self._method(layer), rank)


@lru_cache(maxsize=4096)
def _useful(layer: LayerSpec, method: str) -> int:
    return max(useful_ranks(layer, method), default=0)
