"""How long the file of a network in training is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autocomp.artifacts.container import pack
from autocomp.artifacts.packed import PackedModel
from autocomp.artifacts.records import weight_bits
from autocomp.core.quantized import Quantized
from autocomp.training.trainable import Latent


class FileLength:
    """Adds up a file: its codes as they are, and what does not change.

    Args:
        packed: the file that the network came from.
        weights: its quantized weights.

    Attributes:
        others: bytes of everything but the codes, their models and their scales.
    """

    def __init__(self, packed: PackedModel, weights: Sequence[Latent]) -> None:
        self._weights = list(weights)
        self._plans = {x.parameter: packed.plan[x.name] for x in packed.layers}
        self.first_bits = sum(
            weight_bits(packed.weights[x.name], self._plans[x.name]) for x in self._weights
        )
        self.others = len(pack(packed)) - self.first_bits / 8

    def __call__(self) -> int:
        """Returns the length, in bytes, with the codes as they are now."""
        bits = 0.0
        for weight in self._weights:
            codes = weight.form.codes(weight.latent.detach()).cpu().to(torch.int32)
            scale = weight.form.steps().detach().cpu().float()
            bits += weight_bits(Quantized(codes, scale), self._plans[weight.name])
        return round(self.others + bits / 8)  # those of the start: the file's own, to the byte
