"""What the search may know of one layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from autocomp.core.choice import Activations, Choice
from autocomp.core.output_site import OutputSite


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One weight that can be compressed.

    Attributes:
        name: the module's name, with the projection's for attention ("block.attn.in_proj").
        parameter: the weight's name in the state dict.
        kind: "conv", "transposed", "linear", "embedding", "attention", "matrix" (another module
            that multiplies by a matrix) or "recurrent".
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
        input_bits: bits in which the network that was given rounds the layer's inputs already, as
            one that comes from a search does; 32 if it does not.
        bias_key: the bias's name in its module.
        output_sites: where its outputs, and the sum that they go into, are rounded if a plan says
            so; () where the next layer's inputs are its outputs, or are those of the network.
        output_bits: bits in which the network that was given rounds them already.
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
    input_bits: int = 32
    bias_key: str = "bias"
    output_sites: tuple[OutputSite, ...] = ()
    output_bits: int = 32

    @property
    def owner(self) -> str:
        """Name of the module that holds the weight; "" for the network itself."""
        return self.parameter.rpartition(".")[0]

    @property
    def host(self) -> str:
        """Name of the module whose call uses the weight: an attention, for its projections."""
        return self.name.rpartition(".")[0] if self.kind == "attention" else self.owner

    @property
    def projection(self) -> str:
        """Which of an attention's projections it is: "in_proj", "q_proj", ...; "" for others."""
        return self.name.rpartition(".")[2] if self.kind == "attention" else ""

    @property
    def bias_name(self) -> str | None:
        """State-dict name of the bias that is added to the layer's outputs; None without one."""
        if not self.bias:
            return None
        packed = self.kind == "attention" and not self.parameter.endswith(".weight")
        host = self.host if packed else self.owner
        bias = "in_proj_bias" if packed else self.bias_key
        return f"{host}.{bias}" if host else bias

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

    def in_effect(self, choice: Choice) -> Choice:
        """Returns the choice with the bits that values really have: it may leave them as is."""
        own = choice.activations
        inputs = own.bits if own.bits < 32 else self.input_bits
        outputs = own.output_bits if own.output_bits < 32 else self.output_bits
        return replace(choice, activations=Activations(inputs, outputs))

    def zeros(self, choice: Choice) -> int:
        """Number of weights that `choice` sets to zero: exact, after rounding."""
        if choice.weights.pattern:
            n, m = choice.weights.n_of_m
            inputs = self.shape[self.in_axis]
            return self.n_weights // inputs * (inputs // m) * (m - n)
        return min(round(choice.weights.sparsity * self.n_weights), self.n_weights - 1)

    def nonzeros(self, choice: Choice) -> int:
        """Number of weights that `choice` leaves."""
        return self.n_weights - self.zeros(choice)
