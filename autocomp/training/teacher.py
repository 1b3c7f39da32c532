"""The teacher: the dense network, whose outputs on a view are computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from autocomp.core.structured import Inputs
from autocomp.training.losses import Tap
from autocomp.training.taps import tapped

_KEPT_BYTES = 1 << 29


class Teacher:
    """Runs a teacher on batches of training samples, and remembers its outputs.

    Args:
        network: the teacher, in evaluation mode, returning the tensor that counts.
        taps: where losses look.
        samples: training samples.
        keeps: whether the same views come again.
    """

    def __init__(self, network: nn.Module, taps: Sequence[Tap], samples: int, keeps: bool) -> None:
        self._network, self._taps, self._samples = network, tuple(taps), samples
        # gradients at a tap are asked for by losses that look at attributions
        self._keeps = keeps and not self._taps
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(
        self, inputs: Inputs, indices: Tensor, view: int
    ) -> tuple[Tensor, Mapping[Tap, Tensor]]:
        """Returns outputs, float32, and what stands at the taps.

        Args:
            inputs: a batch, as the trained network gets it.
            indices: which samples they are.
            view: which view of them; -1 for one that never comes again.
        """
        if self._taps:
            with tapped(self._network, self._taps) as found, torch.enable_grad():
                outputs = self._network(inputs)
                return outputs.float(), dict(found)
        known = self._kept.get(view) if view >= 0 else None
        if known is not None and bool(known[1][indices].all()):
            device = next((p.device for p in self._network.parameters()), torch.device("cpu"))
            return known[0][indices].to(device), {}
        with torch.no_grad():
            outputs = self._network(inputs).float()
        if self._keeps and view >= 0:
            self._keep(outputs, indices, view)
        return outputs, {}

    def _keep(self, outputs: Tensor, indices: Tensor, view: int) -> None:
        if view not in self._kept:
            each = outputs[0].numel() * 4 * self._samples
            if (len(self._kept) + 1) * each > _KEPT_BYTES:
                return
            space = torch.zeros((self._samples, *outputs.shape[1:]))
            self._kept[view] = (space, torch.zeros(self._samples, dtype=torch.bool))
        held, done = self._kept[view]
        held[indices], done[indices] = outputs.detach().cpu(), True
