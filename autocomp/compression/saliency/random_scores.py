"""The control: scores that know nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autocomp.compression.saliency.loss import Batch
from autocomp.compression.structure.groups import ChannelGroup


@dataclass(frozen=True)
class RandomCriterion:
    """Even random numbers from 0 to 1, the same for the same seed and group name.

    Attributes:
        seed: any whole number.
    """

    seed: int = 0

    @property
    def needs_data(self) -> bool:
        """Whether `scores` runs the network: never."""
        return False

    def scores(
        self, model: nn.Module, groups: Sequence[ChannelGroup], batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        """Returns group name -> random float32 scores `(units,)`; looks at nothing else."""
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        found = {}
        for group in groups:
            seed = zlib.crc32(f"{self.seed}:{group.name}".encode())
            generator = torch.Generator().manual_seed(seed)
            found[group.name] = torch.rand(group.units, generator=generator).to(device)
        return found
