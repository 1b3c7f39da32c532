"""Contrastive distillation: a sample's features nearer to its teacher's than to other samples'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.training.losses.base import Loss, Tap, TrainingBatch, flat
from autocomp.training.losses.distillation import temperature


class Contrastive(Loss):
    """InfoNCE of embeddings: -log exp(s.t+ / T) / (exp(s.t+ / T) + sum exp(s.t- / T)).

    s and t are unit vectors that learned linear maps make of both networks' features in front of
    the last layer; the bank holds the teacher's vectors of earlier samples. CRD, Tian et al. 2020,
    arXiv:1910.10699, with a queue of the latest vectors instead of one for every sample.

    Args:
        T: the temperature.
        width: of an embedding.
        bank: vectors in the bank.
        at: the module whose input is looked at; "" for the last compressed one.
    """

    needs_teacher: bool = True
    bank: Tensor
    filled: Tensor

    def __init__(self, T: float = 0.1, width: int = 128, bank: int = 4096, at: str = "") -> None:
        super().__init__()
        self.temperature, self.width, self.size, self.at = temperature(T), width, bank, str(at)
        self.student: nn.Linear | None = None
        self.teacher: nn.Linear | None = None
        self.register_buffer("bank", torch.zeros(bank, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def taps(self, layers: Sequence[str]) -> tuple[Tap, ...]:
        """Returns the module's input."""
        self._tap = Tap(self.at or layers[-1], "in")
        return (self._tap,)

    def build(self, batch: TrainingBatch) -> None:
        """Makes both maps."""
        student, teacher = (flat(x) for x in batch.pairs(self._tap))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.student = nn.Linear(student.shape[1], self.width).to(student)
            self.teacher = nn.Linear(teacher.shape[1], self.width).to(teacher)
        self.bank, self.filled = self.bank.to(student), self.filled.to(student.device)

    def forward(self, batch: TrainingBatch) -> Tensor:
        """Returns the mean over the samples."""
        assert self.student is not None and self.teacher is not None
        student, teacher = (flat(x) for x in batch.pairs(self._tap))
        s = F.normalize(self.student(student), dim=1)
        t = F.normalize(self.teacher(teacher), dim=1)
        n = int(self.filled.clamp(max=self.size))
        found = info_nce(s, t, self.bank[:n].clone(), self.temperature)
        with torch.no_grad():
            at = (int(self.filled) + torch.arange(len(t), device=t.device)) % self.size
            self.bank[at] = t.detach()
            self.filled += len(t)
        return found


def info_nce(student: Tensor, teacher: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Returns the mean of -log of the right one's share among itself, the batch's and the bank's.

    Args:
        student: `(n, width)` unit vectors.
        teacher: `(n, width)` unit vectors of the same samples.
        bank: `(m, width)` unit vectors of others.
        temperature: divides the products.
    """
    scores = student @ torch.cat([teacher, bank]).T / temperature
    return F.cross_entropy(scores, torch.arange(len(student), device=student.device))
