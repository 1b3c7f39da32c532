"""A chain of plain layers without its weights, as a compressed file keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.low_rank.stored_layer import read_layer
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import ArtifactError, LayerError

LONGEST = 16
"""Most layers of a chain in a file; the longest that a method here builds has five."""
LARGEST = 1 << 31
"""Most weights of a chain in a file."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The plain layers that stand for one layer, first to last.

    Attributes:
        layers: the layers; each takes what the one before it gives.
    """

    layers: tuple[PlainLayer, ...]

    @classmethod
    def of(cls, chain: nn.Sequential) -> Blueprint:
        """Returns what a chain is, but for its weights.

        Raises:
            LayerError: if a part is no plain layer, or the chain is empty.
        """
        if not isinstance(chain, nn.Sequential) or len(chain) == 0:
            raise LayerError(
                "A blueprint is of a non-empty nn.Sequential of plain layers, but got "
                f"{type(chain).__name__} with {len(list(chain.children()))} parts; give what "
                "`decompose` returned."
            )
        return cls(tuple(PlainLayer.of(layer) for layer in chain))

    @property
    def n_weights(self) -> int:
        """Number of weights of all layers, without the bias."""
        return sum(layer.n_weights for layer in self.layers)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State-dict names of the chain's tensors and their shapes.

        A loader compares them with a file's tensors before it allocates anything.
        """
        found: dict[str, tuple[int, ...]] = {}
        for place, layer in enumerate(self.layers):
            found[f"{place}.weight"] = layer.weight_shape
            if layer.bias:
                found[f"{place}.bias"] = (layer.outs,)
        return found

    def macs(self, input_shape: Sequence[int]) -> int:
        """Returns the multiply-accumulates of one example.

        Args:
            input_shape: shape of one example's input: `(channels, *size)` for convolutions,
                `(*positions, features)` for linear layers.

        Raises:
            LayerError: if the chain cannot take an input of that shape.
        """
        return sum(spec.macs for spec in self.specs(input_shape))

    def specs(self, input_shape: Sequence[int]) -> tuple[LayerSpec, ...]:
        """Returns the chain's layers as an analysis of it would, without running it; see `macs`."""
        first, shape = self.layers[0], tuple(input_shape)
        linear = first.type == "linear"
        width, size = (shape[-1:], shape[:-1]) if linear else (shape[:1], shape[1:])
        if width != (first.ins,) or (not linear and len(size) != len(first.kernel)):
            raise LayerError(
                f"The input of a {first.type} with {first.ins} inputs must have them, but its "
                f"shape is {shape}; give one example's shape, without the batch."
            )
        found = []
        for place, layer in enumerate(self.layers):
            found.append(layer.spec(str(place), shape))
            shape = found[-1].output_shape
        return tuple(found)

    def build(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> nn.Sequential:
        """Returns the chain with weights of zero; no random number is drawn.

        Args:
            device: where the tensors lie; the CPU by default, "meta" allocates nothing.
            dtype: their type; torch's default by default.
        """
        return nn.Sequential(*(layer.build(device, dtype) for layer in self.layers))

    def to_json(self) -> list[dict[str, Any]]:
        """Returns one mapping a layer, of what JSON can hold."""
        return [layer.to_json() for layer in self.layers]

    @classmethod
    def from_json(cls, values: Any) -> Blueprint:
        """Builds a blueprint from `to_json`'s list, or its text; it may come from a hostile file.

        Only linear layers and convolutions can be named, with bounded whole numbers, and nothing
        is allocated.

        Raises:
            ArtifactError: if the list is none, too long, of too many weights, or its layers do not
                fit each other.
        """
        if isinstance(values, (str, bytes)):
            try:
                values = json.loads(values)
            except (ValueError, RecursionError) as error:
                raise ArtifactError(
                    f"A stored chain of layers must be JSON, but is not ({type(error).__name__}); "
                    "write the file again."
                ) from None
        if not isinstance(values, list) or not 1 <= len(values) <= LONGEST:
            raise ArtifactError(
                f"A stored chain must be a list of 1 to {LONGEST} layers, but is "
                f"{f'one of {len(values)}' if isinstance(values, list) else type(values).__name__}"
                "; write the file again."
            )
        found = cls(tuple(read_layer(value) for value in values))
        for before, after in zip(found.layers, found.layers[1:], strict=False):
            if before.type != after.type or before.outs != after.ins:
                raise ArtifactError(
                    "Each layer of a stored chain must take what the one before it gives, but a "
                    f"{before.type} with {before.outs} outputs stands before a {after.type} with "
                    f"{after.ins} inputs; write the file again."
                )
        biases = sum(layer.outs for layer in found.layers if layer.bias)
        if found.n_weights + biases > LARGEST:
            raise ArtifactError(
                f"A stored chain must have at most {LARGEST} weights, but asks for "
                f"{found.n_weights}; write the file again."
            )
        return found
