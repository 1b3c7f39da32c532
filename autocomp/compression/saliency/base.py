"""The contract of a criterion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from autocomp.compression.saliency.loss import Batch
from autocomp.compression.structure.groups import ChannelGroup
from autocomp.errors import AutocompError


class CriterionError(AutocompError):
    """The parts of a criterion do not fit together, or it got an option that it does not have."""


class Saliency(Protocol):
    """Says what each unit of each group is worth.

    `autocomp.testing.CriterionContract` holds its contract: higher means keep; finite; equal for
    equal arguments; the network is left as it was; units in another order get their scores in that
    order.
    """

    @property
    def needs_data(self) -> bool:
        """Whether `scores` runs the network; if not, `batches` may be empty."""
        ...

    def scores(
        self, model: nn.Module, groups: Sequence[ChannelGroup], batches: Sequence[Batch]
    ) -> dict[str, Tensor]:
        """Returns group name -> float32 scores `(units,)` on the model's device."""
        ...
