"""What the network is to answer on made-up inputs: classes, or soft targets like its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TARGETS = ("classes", "dirichlet", "none")
"""`classes`: each class as often; `dirichlet`: soft targets, see `dirichlet_targets`; or none."""


def class_targets(n: int, classes: int, generator: torch.Generator) -> Tensor:
    """Returns one-hot targets `(n, classes)`, each class as often as another, in random order."""
    order = torch.arange(n) % classes
    return F.one_hot(order[torch.randperm(n, generator=generator)], classes).float()


def dirichlet_targets(
    n: int, last: Tensor, generator: torch.Generator, concentration: float = 1.0
) -> Tensor:
    """Returns soft targets whose classes are as alike as the network holds them to be.

    y ~ Dirichlet(b c_k), c_k the similarity of class k to each class, the cosine of the last
    layer's rows scaled to [0, 1] (Nayak et al. 2019, arXiv:1905.08114).

    Args:
        n: how many.
        last: the last layer's weights, `(classes, features)`.
        generator: of the random numbers.
        concentration: b.
    """
    rows = F.normalize(last.detach().float().flatten(1), dim=1)
    alike = rows @ rows.T
    low, high = alike.min(1, keepdim=True).values, alike.max(1, keepdim=True).values
    alike = (alike - low) / (high - low).clamp(min=1e-6)
    chosen = class_targets(n, len(rows), generator).argmax(1)
    shape = (concentration * alike[chosen].cpu()).clamp(min=1e-2).double()
    drawn = torch._standard_gamma(shape, generator=generator).clamp(min=1e-12)
    return (drawn / drawn.sum(1, keepdim=True)).float()


def last_weights(network: nn.Module, classes: int) -> Tensor | None:
    """Returns the weights of the last layer that has a row for each class; None without one."""
    found = [m.weight for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return next((w for w in reversed(found) if len(w) == classes), None)
