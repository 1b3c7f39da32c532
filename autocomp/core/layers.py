"""What the search may know of a network: one `LayerSpec` a compressible layer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autocomp.core.plan import NEUTRAL, Choice, Plan
from autocomp.errors import LayerError, PlanError
from autocomp.plugins.registry import unknown


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One weight that can be compressed.

    Attributes:
        name: the module's name, with the projection's for attention ("block.attn.in_proj").
        parameter: the weight's name in the state dict.
        kind: "conv", "transposed", "linear", "embedding" or "attention".
        shape: the weight's shape.
        out_axis: the axis of `shape` that counts outputs (scales are per index of it).
        in_axis: the axis of `shape` that counts inputs (N:M patterns run along it).
        groups: number of convolution groups (1 for other kinds).
        stride: the first stride (1 for other kinds).
        macs: multiply-accumulates of one example, summed over all calls.
        calls: how often one forward pass uses the layer.
        quantizable_input: whether its input passes through a module call that can be hooked.
        bias: whether the module adds a bias.
        input_shape: shape of one example's input at the first call, () where it was never seen.
        output_shape: shape of one example's output there, likewise.
        units: units of the dependency group that it leads (channels, heads or neurons that are
            removed together, wherever they live); 0 if another layer leads, or none may go.
        unit_step: units stay in multiples of this.
        full_rank: largest rank of a low-rank form with fewer weights; 0 if there is none.
    """

    name: str
    parameter: str
    kind: str
    shape: tuple[int, ...]
    out_axis: int
    in_axis: int
    groups: int
    stride: int
    macs: int
    calls: int
    quantizable_input: bool
    bias: bool
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    units: int = 0
    unit_step: int = 1
    full_rank: int = 0

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """Number of output features or channels."""
        return self.shape[self.out_axis] * (self.groups if self.kind == "transposed" else 1)

    @property
    def inputs(self) -> int:
        """Number of input features or channels."""
        grouped = self.kind == "conv"
        return self.shape[self.in_axis] * (self.groups if grouped else 1)

    @property
    def kernel(self) -> int:
        """Kernel positions, 1 for linear layers."""
        return self.n_weights // (self.shape[self.out_axis] * self.shape[self.in_axis])

    def units_kept(self, channels: float) -> int:
        """Returns how many units stay for a ratio: the nearest multiple of `unit_step`, at least 1.

        All stay where the nearest multiple lies beyond.
        """
        step = min(self.unit_step, self.units)
        wanted = int(channels * self.units / step + 0.5) * step
        return self.units if channels >= 1 else min(max(wanted, step), self.units)

    def rank_kept(self, rank: float) -> int:
        """Returns the rank that a share of `full_rank` means, at least 1; 0 for a whole layer."""
        return 0 if rank >= 1 or not self.full_rank else max(1, int(rank * self.full_rank + 0.5))

    def zeros(self, choice: Choice) -> int:
        """Number of weights that `choice` sets to zero: exact, after rounding."""
        if choice.pattern:
            n, m = choice.n_of_m
            inputs = self.shape[self.in_axis]
            return self.n_weights // inputs * (inputs // m) * (m - n)
        return min(round(choice.sparsity * self.n_weights), self.n_weights - 1)

    def nonzeros(self, choice: Choice) -> int:
        """Number of weights that `choice` leaves."""
        return self.n_weights - self.zeros(choice)


@dataclass(frozen=True)
class Network:
    """Every tensor of a network, sorted by what may be done to it.

    Attributes:
        layers: the layers that a plan speaks of, in the order of a forward pass.
        kept: compressible layers that the user wants left alone.
        side: biases, normalisation parameters and floating-point statistics (state-dict names);
            rounded when the weights are quantized.
        exact: other floating-point buffers and every integer buffer, stored unchanged.
        unsupported: parameters that no compressor knows, stored unchanged.
        aliases: state-dict names of tied tensors -> the name under which they are stored.
        n_parameters: number of parameters, tied ones once.
        norms: batch norms (module names) that are one gain and one shift a channel in evaluation
            mode; their four tensors are in `side`.
    """

    layers: tuple[LayerSpec, ...]
    kept: tuple[LayerSpec, ...]
    side: tuple[str, ...]
    exact: tuple[str, ...]
    unsupported: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]
    n_parameters: int
    norms: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that a plan speaks of."""
        return tuple(layer.name for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example over all layers, the kept ones too."""
        return sum(layer.macs for layer in (*self.layers, *self.kept))

    def layer(self, name: str) -> LayerSpec:
        """Returns the layer called `name`; LayerError with a suggestion if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise LayerError(unknown("layer", name, self.names))

    def neutral_plan(self) -> Plan:
        """The plan that leaves every layer as it is."""
        return Plan({name: NEUTRAL for name in self.names})

    def check(self, plan: Plan) -> None:
        """Raises PlanError unless `plan` names exactly this network's layers, in order."""
        if tuple(plan) == self.names:
            return
        for name in plan:
            if name not in self.names:
                raise PlanError(unknown("layer", name, self.names))
        missing = [name for name in self.names if name not in plan]
        if missing:
            raise PlanError(f"The plan misses layer {missing[0]!r}; give one choice per layer.")
        raise PlanError(f"The plan must list its layers in forward order: {list(self.names)}.")


def split_kept(
    layers: Iterable[LayerSpec], keep: Iterable[str]
) -> tuple[tuple[LayerSpec, ...], tuple[LayerSpec, ...]]:
    """Returns (layers to search, layers left alone).

    Raises:
        LayerError: if `keep` names a layer that does not exist, or nothing is left to compress.
    """
    layers = tuple(layers)
    keep = set(keep)
    known = [layer.name for layer in layers]
    for name in sorted(keep):
        if name not in known:
            raise LayerError(unknown("layer to keep", name, known))
    searched = tuple(layer for layer in layers if layer.name not in keep)
    if not searched:
        raise LayerError(
            "The network must have a compressible layer, but got none"
            + (
                " beside the kept ones; keep fewer."
                if layers
                else " (no convolution, linear, "
                "embedding or attention weight is called in its forward pass)."
            )
        )
    return searched, tuple(layer for layer in layers if layer.name in keep)
