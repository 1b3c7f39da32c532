"""Drawing samples so that every class keeps its share."""

from __future__ import annotations

import torch
from torch import Tensor

from autocomp.errors import DataError


def stratified(labels: Tensor, n: int, seed: int) -> Tensor:
    """Draws `n` positions, each class in proportion to its share of `labels`.

    A class of `m` out of `N` labels gets `floor(n m / N)` positions; those still missing go to the
    largest remainders (smaller labels first among equals).

    Args:
        labels: `(N,)` integers; not modified.
        n: how many positions, at least 1; all `N` of them where `n >= N`.
        seed: the seed of the draw; nothing outside is seeded.

    Returns:
        `(min(n, N),)` int64 positions without repetition, in a seeded random order.

    Raises:
        DataError: if `n < 1` or there are no labels.
    """
    if n < 1 or len(labels) == 0:
        raise DataError(
            f"`1 <= n` samples of a split that is not empty must be drawn, but got {n=} of "
            f"{len(labels)}. Ask for at least one, of a split that has some."
        )
    generator = torch.Generator().manual_seed(seed)
    if n >= len(labels):
        return torch.randperm(len(labels), generator=generator)
    classes, counts = torch.unique(labels, return_counts=True)
    exact = [n * int(count) / len(labels) for count in counts]
    quota = [int(share) for share in exact]
    order = sorted(range(len(classes)), key=lambda i: (quota[i] - exact[i], i))
    for i in order[: n - sum(quota)]:
        quota[i] += 1
    drawn = []
    for label, wanted in zip(classes, quota, strict=True):
        members = (labels == label).nonzero().flatten()
        drawn.append(members[torch.randperm(len(members), generator=generator)[:wanted]])
    together = torch.cat(drawn)
    return together[torch.randperm(len(together), generator=generator)]


def remaining(size: int, taken: Tensor) -> Tensor:
    """Returns the positions in `range(size)` that are not in `taken`, in rising order."""
    free = torch.ones(size, dtype=torch.bool)
    free[taken] = False
    return free.nonzero().flatten()
