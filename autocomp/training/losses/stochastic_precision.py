"""A teacher out of the same weights: the trained network with other precisions of its inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autocomp.errors import TrainingError
from autocomp.tasks import Task
from autocomp.training.losses.base import Loss, TrainingBatch


class StochasticPrecision(Loss):
    """1 - cosine of the outputs to those under random precisions (SPEQ, arXiv:2009.14502).

    Boo et al. 2021. In each step, every layer's inputs are left unrounded with a chance of `share`;
    what the network gives then is the teacher. It suits plans with low activation bits.

    Args:
        share: chance of each layer, in (0, 1].
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise TrainingError(f"`0 < share <= 1` must hold for speq, but got share={share}.")
        self.share = float(share)

    def check(self, task: Task) -> None:
        """Suits every task."""

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean of one less the cosine."""
        assert batch.network is not None and batch.again is not None
        hooks = _rounding_hooks(batch.network)
        if not hooks:
            raise TrainingError(
                "The loss speq needs inputs of layers that are rounded, but the plan rounds none; "
                "search a space with activation_bits, or take kd."
            )
        drawn = torch.rand(len(hooks), generator=batch.generator) < self.share
        left = [hook for hook, out in zip(hooks, drawn.tolist(), strict=True) if out]
        for module, key, _ in left:
            del module._forward_pre_hooks[key]
        try:
            with torch.no_grad():
                teacher = batch.again()
        finally:
            for module, key, hook in left:
                module._forward_pre_hooks[key] = hook
        soft = batch.task.unit == "nats"
        own, other = (x.softmax(1) if soft else x for x in (batch.outputs, teacher))
        return (1 - torch.cosine_similarity(own.flatten(1), other.flatten(1), dim=1)).mean()


def _rounding_hooks(network: nn.Module) -> list[tuple[nn.Module, int, Any]]:
    return [
        (module, key, hook)
        for module in network.modules()
        for key, hook in module._forward_pre_hooks.items()
        if hasattr(hook, "quantize")
    ]
