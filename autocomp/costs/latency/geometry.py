"""What a layer's running time depends on: its geometry, not its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import LayerError

MOST_OTHERS = 1 << 26
"""Bytes that no processor's cache keeps while they are read."""

_Conv = nn.modules.conv._ConvNd


@dataclass(frozen=True)
class Geometry:
    """One call of a layer, as the processor sees it.

    Attributes:
        kind: "conv", "transposed" or "linear" (projections of attention are linear).
        inputs: input channels or features.
        outputs: output channels or features.
        spatial: height, width, ... of the input; for "linear" the number of vectors of one
            example, for instance its tokens.
        kernel: one size an axis, () for "linear"; so are the next three.
        stride: likewise.
        dilation: likewise.
        padding: zeros before each axis, then after each axis; for "transposed" what is cut.
        output_padding: for "transposed", what is added after each axis.
        groups: convolution groups.
        bias: whether a bias is added.
        batch: examples a call.
        others: bytes that the rest of the network reads between two calls, which push this
            layer's weights out of the processor's caches; a power of two, or 0.
    """

    kind: str
    inputs: int
    outputs: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True
    batch: int = 1
    others: int = 0

    def __post_init__(self) -> None:
        """Raises LayerError for what no layer can be."""
        counts = (self.inputs, self.outputs, self.groups, self.batch, *self.spatial, *self.kernel)
        if min(counts) < 1:
            raise LayerError(
                f"A geometry's counts must be at least 1, but got {self}; was the layer called?"
            )
        if self.inputs % self.groups or self.outputs % self.groups:
            raise LayerError(
                f"Groups must divide the channels, but got {self.groups} groups for "
                f"{self.inputs} -> {self.outputs}; keep as many channels in every group."
            )

    @classmethod
    def of(cls, layer: LayerSpec, module: nn.Module, batch: int = 1, others: int = 0) -> Geometry:
        """Returns the geometry of a layer's first call.

        Padding other than zeros counts as zeros.

        Args:
            layer: the layer, with the shapes that a forward pass saw.
            module: the module that holds its weight.
            batch: examples a call.
            others: bytes of all the network's weights; rounded down to a power of two, and at most
                `MOST_OTHERS`.

        Raises:
            LayerError: if the layer was never called, or is of a kind that cannot be measured.
        """
        if not layer.calls or not layer.input_shape:
            raise LayerError(
                f"Layer {layer.name!r} must run to be measured, but no forward pass calls it; "
                "leave it out."
            )
        others = min(1 << (others.bit_length() - 1), MOST_OTHERS) if others else 0
        if layer.kind in ("linear", "attention"):
            vectors = layer.macs // (layer.calls * layer.n_weights)
            return cls(
                "linear", layer.inputs, layer.outputs, (max(1, vectors),),
                bias=layer.bias, batch=batch, others=others,
            )  # fmt: skip
        if layer.kind not in ("conv", "transposed") or not isinstance(module, _Conv):
            raise LayerError(
                f"Only convolutions, linear layers and attention can be measured, but "
                f"{layer.name!r} is of kind {layer.kind!r}; its time counts as part of the rest."
            )
        axes = len(module.kernel_size)
        if len(layer.input_shape) != axes + 1 or layer.input_shape[0] != layer.inputs:
            raise LayerError(
                f"The input of {layer.name!r} must be a batch of {layer.inputs} channels and "
                f"{axes} axes, but one example has shape {layer.input_shape}; add a batch axis."
            )
        return cls(
            layer.kind,
            layer.inputs,
            layer.outputs,
            tuple(layer.input_shape[1:]),
            kernel=tuple(module.kernel_size),
            stride=tuple(module.stride),
            dilation=tuple(module.dilation),
            padding=_padding(module),
            output_padding=tuple(module.output_padding) if layer.kind == "transposed" else (),
            groups=layer.groups,
            bias=layer.bias,
            batch=batch,
            others=others,
        )

    @property
    def is_depthwise(self) -> bool:
        """Whether each group has one input, so that inputs, outputs and groups shrink together."""
        return self.groups > 1 and self.groups == self.inputs

    def with_channels(self, inputs: int, outputs: int) -> Geometry:
        """Returns this geometry with fewer channels, in whole groups.

        Depthwise convolutions lose groups: `inputs` decides, `outputs` follows. Other grouped ones
        keep their groups, and both numbers are rounded up to multiples of them.

        Args:
            inputs: in [1, self.inputs].
            outputs: in [1, self.outputs].

        Raises:
            LayerError: if a number is out of range.
        """
        if not (1 <= inputs <= self.inputs and 1 <= outputs <= self.outputs):
            raise LayerError(
                f"A slice of {self.inputs} -> {self.outputs} channels must keep from 1 to all, "
                f"but got {inputs} -> {outputs}; change it."
            )
        if self.is_depthwise:
            each = self.outputs // self.groups
            return replace(self, inputs=inputs, outputs=inputs * each, groups=inputs)
        return replace(
            self,
            inputs=-(-inputs // self.groups) * self.groups,
            outputs=-(-outputs // self.groups) * self.groups,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns every field; tuples become lists in JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Geometry:
        """Builds a geometry from `to_json`'s mapping; LayerError for values that make none."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            return cls(**fields)
        except TypeError:
            raise LayerError(
                f"A geometry has the fields {sorted(cls.__annotations__)}, but got "
                f"{sorted(values)}; write it with `to_json`."
            ) from None

    @property
    def key(self) -> str:
        """A canonical text that identifies the geometry."""
        return json.dumps(self.to_json(), separators=(",", ":"), sort_keys=True)


def _padding(module: _Conv) -> tuple[int, ...]:
    """Returns the zeros before and after each axis."""
    if module.padding == "valid":
        return (0,) * 2 * len(module.kernel_size)
    if module.padding == "same":
        pairs = zip(module.kernel_size, module.dilation, strict=True)
        totals = [dilation * (kernel - 1) for kernel, dilation in pairs]
        return (*(t // 2 for t in totals), *(t - t // 2 for t in totals))
    return (*map(int, module.padding), *map(int, module.padding))
