"""Attribution: what a prediction rests on in the image, as in the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from autocomp.errors import TrainingError
from autocomp.training.losses.base import Loss, Tap, TrainingBatch


class Attribution(Loss):
    """mean ||A_s / ||A_s|| - A_t / ||A_t||||^2 of weighted gradient maps A at one module.

    A = relu(sum over channels of w_c F_c), w_c the mean over positions of dy / dF_c, y the logit of
    the teacher's prediction: Park et al. 2020, arXiv:2010.15054, with the maps of Grad-CAM.

    Args:
        at: the module, a convolution; "" for the last one with positions.
    """

    needs_teacher: bool = True
    needs_classes: bool = True

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self.at = str(at)

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module."""
        names = [self.at] if self.at else list(reversed(layers))
        self._taps = tuple(Tap(name) for name in names[:3])
        return self._taps

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean squared difference of the normalised maps."""
        student, teacher = self._pair(batch)
        chosen = batch.taught().argmax(1, keepdim=True)
        first = gradient_map(batch.outputs, student, chosen, graph=True)
        second = gradient_map(batch.taught(), teacher, chosen, graph=False)
        return (first - second.detach()).square().sum(1).mean()

    def _pair(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        for tap in self._taps:
            student, teacher = batch.pairs(tap)
            if student.dim() == 4:
                return student, teacher
        raise TrainingError(
            "Attribution needs a module with maps (n, channels, height, width), but "
            f"{self._taps[0].module!r} has none; name one with at=."
        )


def gradient_map(outputs: Tensor, features: Tensor, chosen: Tensor, graph: bool) -> Tensor:
    """Returns the map of each sample, `(n, positions)`, of length one.

    Args:
        outputs: logits `(n, classes)`, computed from the features.
        features: `(n, channels, height, width)`, with gradients.
        chosen: the class of each sample, `(n, 1)`.
        graph: whether the map is to be differentiated.
    """
    score = outputs.gather(1, chosen).sum()
    (slope,) = torch.autograd.grad(score, features, create_graph=graph, retain_graph=True)
    weighted = (slope.mean((2, 3), keepdim=True) * features).sum(1)
    return F.normalize(weighted.relu().flatten(1), dim=1)
