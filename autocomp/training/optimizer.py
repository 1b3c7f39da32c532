"""The optimizer of a training, and how its learning rate goes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from autocomp.training.config import TrainingConfig

_LOSS_LR = 1e-3
"""Of what a loss trains of its own."""


def make_optimizer(
    config: TrainingConfig,
    codes: Sequence[nn.Parameter],
    floating: Sequence[nn.Parameter],
    side: Sequence[nn.Parameter],
    own: Sequence[nn.Parameter],
) -> torch.optim.Optimizer:
    """Returns the optimizer.

    Args:
        config: the training's settings.
        codes: latents of quantized weights.
        floating: weights that stay floating.
        side: norms, biases, steps of inputs, scales.
        own: the loss's.
    """
    kind = config.optimizer
    if kind == "auto":
        kind = "adam" if codes else "sgd"
    lr = config.lr or (0.01 if kind == "sgd" else 6e-3)
    side_lr = config.side_lr or (lr / 2 if codes else lr)
    # Adam's step does not know a weight's size; a code's unit is its own
    float_lr = lr if kind == "sgd" or not codes else lr / 10
    groups = [
        {"params": list(codes), "lr": lr},
        {"params": list(floating), "lr": float_lr, "weight_decay": config.weight_decay},
        {"params": list(side), "lr": side_lr},
        {"params": list(own), "lr": _LOSS_LR if kind != "sgd" else lr},
    ]
    groups = [group for group in groups if group["params"]]
    for group in groups:
        group["first"] = group["lr"]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return make(groups, lr=lr, betas=(0.9, 0.99))


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup: float) -> float:
    """Sets each group's learning rate for a step: a linear rise, then a cosine to zero.

    Returns:
        The first group's.
    """
    rise = warmup * steps
    at = step + 0.5
    if at < rise:
        share = at / rise
    else:
        share = 0.5 * (1 + math.cos(math.pi * (at - rise) / max(1e-9, steps - rise)))
    for group in optimizer.param_groups:
        group["lr"] = group["first"] * share
    return float(optimizer.param_groups[0]["lr"])
