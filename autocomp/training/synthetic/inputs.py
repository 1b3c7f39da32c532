"""Inputs out of a network: made so that its batch norms see what they saw in its training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.core.stage import OnStage, StageCount, untold
from autocomp.errors import TrainingError, unknown
from autocomp.network.device import dtype_of
from autocomp.network.forward import forward
from autocomp.network.working_copy import working_copy
from autocomp.training.synthetic.norm_gap import NormGap
from autocomp.training.synthetic.targets import (
    TARGETS,
    class_targets,
    dirichlet_targets,
    last_weights,
)  # fmt: skip

_BATCH = 64
_RATE = 0.1
_TARGETS = 0.1
"""Weight of the answers beside the gap of the norms."""
_SMOOTH = 0.02
"""Weight of the total variation of images."""


@dataclass(frozen=True)
class SyntheticInputs:
    """Made-up inputs.

    Attributes:
        inputs: `(n, ...)`, as the network takes them.
        gap: how far the norms' statistics of these are from the kept ones, see `NormGap`; a mean
            over batches.
        noise_gap: the same for normal noise.
    """

    inputs: Tensor
    gap: float
    noise_gap: float


def synthetic_inputs(
    network: nn.Module,
    shape: tuple[int, ...],
    n: int = 256,
    steps: int = 200,
    targets: str = "classes",
    seed: int = 0,
    on_stage: OnStage = untold,
) -> SyntheticInputs:
    """Makes inputs without data.

    Noise is changed by gradient (Adam) until batch norms see the means and variances that they kept
    (ZeroQ, Cai et al. 2020, arXiv:2001.00281), the network answers with given classes or soft
    targets (class impressions, Nayak et al. 2019, arXiv:1905.08114), and images are smooth.

    Args:
        network: a classifier with batch norms; it is not changed.
        shape: of one input.
        n: how many.
        steps: of the optimizer, for each batch of 64.
        targets: "classes", "dirichlet" or "none".
        seed: of the noise and the targets.
        on_stage: told how far it is.

    Raises:
        TrainingError: if the network has no batch norms and answers no classes.
    """
    if targets not in TARGETS:
        raise TrainingError(unknown("kind of targets", targets, TARGETS))
    if n < 2 or steps < 1:
        raise TrainingError(f"`n >= 2` and `steps >= 1` must hold, but got n={n}, steps={steps}.")
    model = working_copy(network, torch.device("cpu"))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    gap = NormGap(model)
    counted = StageCount("inputs", -(-n // _BATCH) * steps, on_stage)
    made, gaps, noises = [], [], []
    try:
        for start in range(0, n, _BATCH):
            count = max(2, min(_BATCH, n - start))  # of one there is no variance
            noise = torch.randn(count, *shape, generator=generator).to(dtype_of(model))
            wanted = _wanted(model, noise, targets, generator)
            if wanted is None and not gap.norms:
                raise TrainingError(
                    "Inputs without data need batch norms, whose statistics they are made to have, "
                    "or logits of classes, but the network has neither; give data."
                )
            gap.take()
            inputs, first, last = _shaped(model, gap, noise, wanted, steps, counted)
            made.append(inputs[: n - start])
            gaps.append(last)
            noises.append(first)
    finally:
        gap.close()
    return SyntheticInputs(torch.cat(made), sum(gaps) / len(gaps), sum(noises) / len(noises))


def _wanted(
    model: nn.Module, noise: Tensor, targets: str, generator: torch.Generator
) -> Tensor | None:
    with torch.no_grad():
        outputs = forward(model, noise, TrainingError, "made-up inputs")
    if targets == "none" or not isinstance(outputs, Tensor) or outputs.dim() != 2:
        return None
    classes = outputs.shape[1]
    last = last_weights(model, classes)
    if targets == "dirichlet" and last is not None:
        return dirichlet_targets(len(noise), last, generator)
    return class_targets(len(noise), classes, generator)


def _shaped(
    model: nn.Module, gap: NormGap, noise: Tensor, wanted: Tensor | None, steps: int,
    counted: StageCount,
) -> tuple[Tensor, float, float]:  # fmt: skip
    """Returns inputs, and the norms' gap before and after."""
    inputs = noise.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([inputs], lr=_RATE, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    first = last = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        outputs = model(inputs)
        found = gap.take()
        last = float(found.detach())
        first = last if step == 0 else first
        # the inputs themselves are normalised, as those of the training were
        own = inputs.flatten(2) if inputs.dim() > 2 else inputs.unsqueeze(2)
        prior = own.mean((0, 2)).square().mean() + (own.std((0, 2)) - 1).square().mean()
        loss = found + prior
        if wanted is not None:
            loss = loss + _TARGETS * F.cross_entropy(outputs.float(), wanted)
        if inputs.dim() == 4:
            loss = loss + _SMOOTH * _variation(inputs)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        counted.add(1)
    with torch.no_grad():
        model(inputs)
    return inputs.detach(), first, float(gap.take())


def _variation(images: Tensor) -> Tensor:
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    right = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean()
    return down + right
