"""Subclass distillation: classes split into parts that the teacher tells apart by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.training.losses.base import Loss, Tap, TrainingBatch, flat
from autocomp.training.losses.distillation import temperature


class Subclass(Loss):
    """T^2 KL between K * s sub-logits of teacher and student.

    Müller et al. 2020, arXiv:2002.03936.
    Both have a head of K * s logits on the features in front of their last layer. The teacher's is
    trained so that the summed probabilities of a class's parts give the teacher's own class
    probabilities, and by the auxiliary loss, which spreads samples over the parts: the mean log of
    sum_j exp(v_i.v_j / T), v the sub-logits, normalised over the batch. The student's follows it.

    Args:
        parts: s, of each class.
        T: the temperature.
        beta: weight of the auxiliary loss.
        at: the module whose input is looked at; "" for the last compressed one.
    """

    needs_teacher: bool = True
    needs_classes: bool = True

    def __init__(self, parts: int = 2, T: float = 4.0, beta: float = 0.1, at: str = "") -> None:
        super().__init__()
        self.parts, self.temperature, self.beta = int(parts), temperature(T), float(beta)
        self.at = str(at)
        self.student: nn.Linear | None = None
        self.teacher: nn.Linear | None = None

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module's input."""
        self._tap = Tap(self.at or layers[-1], "in")
        return (self._tap,)

    def build(self, batch: TrainingBatch) -> None:
        """Makes both heads."""
        student, teacher = (flat(x) for x in batch.pairs(self._tap))
        classes = batch.outputs.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.student = nn.Linear(student.shape[1], classes * self.parts).to(student)
            self.teacher = nn.Linear(teacher.shape[1], classes * self.parts).to(teacher)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean divergence, and what trains the teacher's head."""
        assert self.student is not None and self.teacher is not None
        student, teacher = (flat(x) for x in batch.pairs(self._tap))
        own, taught = self.student(student), self.teacher(teacher.detach())
        classes = batch.outputs.shape[1]
        log_class = F.log_softmax(taught, 1).view(-1, classes, self.parts).logsumexp(2)
        fit = F.kl_div(
            log_class, F.log_softmax(batch.taught(), 1), log_target=True, reduction="batchmean"
        )
        t = self.temperature
        match = F.kl_div(
            F.log_softmax(own / t, 1), F.log_softmax(taught.detach() / t, 1), log_target=True,
            reduction="batchmean",
        )  # fmt: skip
        return t**2 * match + fit + self.beta * diversity(taught, t)


def diversity(sub_logits: Tensor, temperature: float) -> Tensor:
    """Returns the auxiliary loss: mean over i of log (1/n sum_j exp(v_i.v_j / T)) - |v_i|^2 / T."""
    spread = sub_logits.std(0, unbiased=False).clamp(min=1e-6)
    v = F.normalize((sub_logits - sub_logits.mean(0)) / spread, dim=1)
    products = v @ v.T / temperature
    own = products.diagonal()
    count = torch.tensor(float(len(v)), device=v.device)
    return (products.logsumexp(1) - count.log() - own).mean()
