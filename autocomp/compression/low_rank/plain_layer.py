"""A plain layer without its weights: linear, or a convolution, with everything that shapes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import LayerError

TYPES: dict[str, type[nn.Module]] = {
    "linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d,
}  # fmt: skip
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """What an `nn.Linear` or `nn.Conv1d/2d/3d` is, but for its weights.

    Attributes:
        type: a name of `TYPES`.
        ins: input features or channels.
        outs: output features or channels.
        kernel: kernel size for each spatial axis; () for linear layers, like all that follow.
        stride: for each spatial axis.
        padding: for each spatial axis, on both sides; or "same".
        dilation: for each spatial axis.
        groups: convolution groups.
        bias: whether it adds one.
        padding_mode: one of `PADDING_MODES`.
    """

    type: str
    ins: int
    outs: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = False
    padding_mode: str = "zeros"

    @classmethod
    def of(cls, module: nn.Module) -> PlainLayer:
        """Returns what `module` is.

        Raises:
            LayerError: unless it is exactly a linear layer or convolution with a weight of its own.
        """
        kind = next((name for name, found in TYPES.items() if type(module) is found), None)
        if kind is None or not isinstance(module._parameters.get("weight"), nn.Parameter):
            raise LayerError(
                "Only plain nn.Linear and nn.Conv1d/2d/3d layers (no subclasses, no transposed "
                "ones, no parametrized weights) have a low-rank form, but got a "
                f"{type(module).__name__}; leave that layer whole."
            )
        bias = module._parameters.get("bias") is not None
        if isinstance(module, nn.Linear):
            return cls(kind, module.in_features, module.out_features, bias=bias)
        conv: Any = module
        padding = conv.padding
        if padding == "valid":
            padding = (0,) * len(conv.kernel_size)
        return cls(
            kind, conv.in_channels, conv.out_channels, tuple(conv.kernel_size), tuple(conv.stride),
            padding if isinstance(padding, str) else tuple(padding), tuple(conv.dilation),
            conv.groups, bias, conv.padding_mode,
        )  # fmt: skip

    @classmethod
    def of_spec(cls, spec: LayerSpec) -> PlainLayer:
        """Returns the layer that a spec speaks of, as far as its weight's shape tells.

        Padding and dilation are not known there: counts of weights hold, counts of MACs do not.

        Raises:
            LayerError: if the spec is of no linear layer or convolution.
        """
        axes = len(spec.shape) - 2
        kind = "linear" if spec.kind == "linear" else f"conv{axes}d"
        if spec.kind not in ("linear", "conv") or kind not in TYPES:
            raise LayerError(
                "Only linear layers and convolutions have a low-rank form, but "
                f"{spec.name!r} is of kind {spec.kind!r}; leave that layer whole."
            )
        if kind == "linear":
            return cls(kind, spec.inputs, spec.outputs, bias=spec.bias)
        ones = (1,) * axes
        return cls(
            kind, spec.inputs, spec.outputs, spec.shape[2:], (spec.stride,) * axes, (0,) * axes,
            ones, spec.groups, spec.bias,
        )  # fmt: skip

    def with_kernel(self, ins: int, outs: int, axes: Iterable[int], groups: int = 1) -> PlainLayer:
        """Returns a layer with this one's kernel, stride, padding and dilation on some axes only.

        On the others it has kernel 1 and keeps the size.

        Args:
            ins: its input channels.
            outs: its output channels.
            axes: spatial axes that it works along.
            groups: its groups.
        """
        chosen = set(axes)

        def pick(values: Sequence[int], neutral: int) -> tuple[int, ...]:
            return tuple(v if axis in chosen else neutral for axis, v in enumerate(values))

        kernel = pick(self.kernel, 1)
        padding: tuple[int, ...] | str = (0,) * len(kernel)
        if not isinstance(self.padding, str):
            padding = pick(self.padding, 0)
        elif math.prod(kernel) > 1:
            padding = self.padding
        padded = padding == "same" or any(padding)
        return PlainLayer(
            self.type, ins, outs, kernel, pick(self.stride, 1), padding, pick(self.dilation, 1),
            groups, padding_mode=self.padding_mode if padded else "zeros",
        )  # fmt: skip

    def pointwise(self, ins: int, outs: int) -> PlainLayer:
        """Returns a layer of the same type that mixes channels at each position."""
        return self.with_kernel(ins, outs, ())

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.outs, self.ins // self.groups, *self.kernel)

    @property
    def n_weights(self) -> int:
        """Number of weights, without the bias."""
        return math.prod(self.weight_shape)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Returns the spatial size of the output.

        Args:
            size: spatial size of the input; for linear layers, the axes before the features.

        Raises:
            LayerError: if the kernel does not fit into an input of that size.
        """
        if self.type == "linear" or self.padding == "same":
            return tuple(size)
        pads = (0,) * len(self.kernel) if isinstance(self.padding, str) else self.padding
        found = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                size, pads, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        if min(found, default=1) < 1:
            raise LayerError(
                f"The input must hold a kernel of {self.kernel}, but its size is {tuple(size)}; "
                "give a larger one."
            )
        return found

    def macs(self, size: Sequence[int]) -> int:
        """Returns the multiply-accumulates on one input of that spatial size."""
        return self.n_weights * math.prod(self.output_size(size))

    def spec(self, name: str, input_shape: Sequence[int]) -> LayerSpec:
        """Returns what an analysis would say of the layer, called once on one example.

        Args:
            name: the name of its module.
            input_shape: `(channels, *size)`, or `(*positions, features)` for a linear layer.
        """
        linear, shape = self.type == "linear", tuple(input_shape)
        size = shape[:-1] if linear else shape[1:]
        after = self.output_size(size)
        return LayerSpec(
            name=name, parameter=f"{name}.weight", kind="linear" if linear else "conv",
            shape=self.weight_shape, out_axis=0, in_axis=1, groups=self.groups,
            stride=self.stride[0] if self.stride else 1, macs=self.macs(size), calls=1,
            quantizable_input=True, bias=self.bias, input_shape=shape,
            output_shape=(*after, self.outs) if linear else (self.outs, *after),
        )  # fmt: skip

    def build(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> nn.Module:
        """Returns the layer with weights of zero; no random number is drawn."""
        given: dict[str, Any] = {"bias": self.bias, "dtype": dtype}
        if self.type != "linear":
            given |= {
                "kernel_size": self.kernel, "stride": self.stride, "padding": self.padding,
                "dilation": self.dilation, "groups": self.groups,
                "padding_mode": self.padding_mode,
            }  # fmt: skip
        made = TYPES[self.type](self.ins, self.outs, device="meta", **given)
        made.to_empty(device="cpu" if device is None else device)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
        return made

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that differ from their defaults, as JSON holds them."""
        default = PlainLayer(self.type, 0, 0)
        found = asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if name == "type" or value != getattr(default, name)
        }


def as_plain(layer: nn.Module | LayerSpec | PlainLayer) -> PlainLayer:
    """Returns the plain layer that a module or a spec is; LayerError if it is none."""
    if isinstance(layer, PlainLayer):
        return layer
    return PlainLayer.of_spec(layer) if isinstance(layer, LayerSpec) else PlainLayer.of(layer)
