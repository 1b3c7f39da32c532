"""What a compressed file holds, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized


@dataclass(frozen=True)
class LayerEntry:
    """One compressed layer of a file.

    Attributes:
        name: the layer's name in the plan.
        parameter: its weight's state-dict name.
        host: the module whose inputs are quantized.
    """

    name: str
    parameter: str
    host: str


@dataclass(frozen=True)
class PackedModel:
    """A compressed network without its code.

    Attributes:
        plan: what was done to each layer.
        layers: the plan's layers.
        weights: state-dict name -> codes and scales, or a plain tensor for 32 bits.
        side: biases, normalisation parameters and statistics, as the network uses them.
        exact: everything else that is stored, unchanged.
        norms: batch norms whose four tensors in `side` a file may hold fused, see `fused_norm.py`;
            if the plan quantizes, they must be fused and rounded (`round_side`).
        wide: side tensors that a file holds in full even if the plan quantizes, see `side_form.py`.
        aliases: state-dict name of a tied tensor -> the name that is stored.
        activations: layer name -> the quantizer of its inputs.
        outputs: layer name -> the quantizers of its outputs and of the sum that they go into.
        source: how the architecture is built ({"name":, "options":}), or None.
        structure: how it was sliced and taken apart, see `structure/record.py`, or None.
        history: the plans of the searches before, the first one first.
    """

    plan: Plan
    layers: tuple[LayerEntry, ...]
    weights: Mapping[str, Quantized | Tensor]
    side: Mapping[str, Tensor]
    exact: Mapping[str, Tensor]
    norms: tuple[str, ...] = ()
    wide: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    activations: Mapping[str, ActivationQuantizer] = field(default_factory=dict)
    outputs: Mapping[str, tuple[OutputQuantizer, ...]] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    structure: Mapping[str, Any] | None = None
    history: tuple[Plan, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor under its state-dict name; nothing is multiplied out."""
        held = {
            name: weight.codes if isinstance(weight, Quantized) else weight
            for name, weight in self.weights.items()
        }
        stored = {n: tuple(t.shape) for n, t in {**held, **self.side, **self.exact}.items()}
        return {**stored, **{alias: stored[owner] for alias, owner in self.aliases.items()}}

    def state_dict(self) -> dict[str, Tensor]:
        """Returns every tensor under its state-dict name, weights multiplied out."""
        stored = {
            name: weight.dequantize() if isinstance(weight, Quantized) else weight
            for name, weight in self.weights.items()
        }
        stored.update(self.side)
        stored.update(self.exact)
        return {**stored, **{alias: stored[owner] for alias, owner in self.aliases.items()}}
