"""What an error in one layer does to the network's outputs: the slopes of the additive model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from torch import Tensor, nn

from autocomp.compression.calibration.norms import batch_statistics
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.stage import OnStage, StageCount, untold
from autocomp.core.structured import Inputs, cut
from autocomp.network.prefix_cache import PrefixCache
from autocomp.network.scoring import finite, outputs_on
from autocomp.tasks import Task

Point = tuple[float, float]
"""(relative output error of a layer, divergence of the network's outputs)."""

POINTS = 5
"""Options per layer whose divergence is measured."""
_CHUNK = 16
"""Images whose activations are held for a backward pass."""
_SPAN = 1e-3
"""The least error that is measured, as a share of the largest: below it curves are straight."""


def measured_choices(errors: Sequence[float]) -> list[int]:
    """Returns which options of a menu to measure: evenly spread over the logarithm of the error.

    Args:
        errors: relative output error of every option.
    """
    values = np.asarray(errors, np.float64)
    if not (values > 0).any():
        return []
    top = float(values.max())
    low = max(float(values[values > 0].min()), top * _SPAN)
    wanted = np.geomspace(low, top, POINTS)
    logs = np.log(np.maximum(values, 1e-300))
    nearest = [int(np.abs(logs - np.log(w)).argmin()) for w in wanted]
    return sorted(set(nearest), key=lambda i: (values[i], i))


def divergences(
    model: nn.Module,
    layers: Sequence[LayerSpec],
    options: Sequence[Sequence[Choice]],
    write: Callable[[str, Choice | None], None],
    images: Inputs,
    task: Task,
    on_stage: OnStage = untold,
) -> list[list[float]]:
    """Returns the divergence of a network with one layer compressed, for each option of each.

    Batch norms normalise with the batch in both networks, as they will once their statistics are
    corrected. What comes before the layer is computed once.

    Args:
        model: the dense network; `write` changes it.
        layers: layers in forward order.
        options: the choices to measure for each.
        write: puts a choice into a layer, or the dense weight back (None).
        images: one batch of calibration images.
        task: says how far outputs are from the dense ones.
        on_stage: told after each option.
    """
    found: list[list[float]] = []
    count = StageCount("losses", sum(map(len, options)), on_stage)
    # a single image has no variance to normalise with
    mode: AbstractContextManager[Any] = (
        batch_statistics(model) if len(images) > 1 else nullcontext()
    )
    with mode, torch.no_grad():
        dense = outputs_on(model, [images], task)
        cache = PrefixCache(model, images)
        for layer, choices in zip(layers, options, strict=True):
            values: list[float] = []
            if choices:
                with cache.before(layer.host):
                    for choice in choices:
                        write(layer.name, choice)
                        seen = task.divergence(outputs_on(model, [images], task), dense)
                        values.append(max(finite(float(seen.double().mean())), 0.0))
                        count.add(1)
                    write(layer.name, None)
            found.append(values)
    return found


def gradient_slopes(model: nn.Module, network: Network, images: Inputs, task: Task) -> list[float]:
    """Returns each layer's divergence per relative output error, from one backward pass.

    To second order the divergence is 1/2 E (g . dy)^2, where g is the gradient of the task's drawn
    loss: of a label drawn from the network's own softmax (the Fisher information). With errors
    spread evenly over the C outputs of a layer: slope = 1/2 sum(g^2) / C * sum_c Var(y_c). For
    networks on which measuring every layer would take too long.

    Args:
        model: the dense network, in evaluation mode.
        network: its layers.
        images: one batch of calibration images.
        task: gives the drawn loss.
    """
    modules = dict(model.named_modules())
    outputs: dict[str, Tensor] = {}
    sums: dict[str, _ChannelSums] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.retain_grad()
                outputs[name] = tensor

        return hook

    wanted = [p.requires_grad for p in model.parameters()]
    generator = torch.Generator().manual_seed(0)
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        with ExitStack() as stack, torch.enable_grad():
            for layer in network.layers:
                hook = modules[layer.host].register_forward_hook(keep(layer.name))
                stack.callback(hook.remove)
            for some in cut(images, _CHUNK):  # activations of a few images at a time
                outputs.clear()
                torch.autograd.backward(task.drawn_loss(model(some), generator))
                for layer in network.layers:
                    if layer.name in outputs:
                        sums.setdefault(layer.name, _ChannelSums()).add(layer, outputs[layer.name])
    finally:
        for parameter, value in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(value)
            parameter.grad = None
    none = _ChannelSums()
    return [sums.get(layer.name, none).slope(len(images)) for layer in network.layers]


class _ChannelSums:
    """Sums over a layer's outputs, from which its slope follows."""

    def __init__(self) -> None:
        self._count, self._gradients = 0, 0.0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0

    def add(self, layer: LayerSpec, output: Tensor) -> None:
        if output.grad is None:
            return
        axis = 1 if layer.kind in ("conv", "transposed") else output.dim() - 1
        y = output.detach().double().movedim(axis, 0).reshape(output.shape[axis], -1)
        self._count += y.shape[1]
        self._first = self._first + y.sum(1)
        self._second = self._second + y.square().sum(1)
        self._gradients += float(output.grad.double().square().sum())

    def slope(self, n: int) -> float:
        """Returns 1/2 sum(g^2) / n / C * sum_c Var(y_c)."""
        if not isinstance(self._first, Tensor) or not isinstance(self._second, Tensor):
            return 0.0
        mean = self._first / self._count
        variance = float((self._second / self._count - mean.square()).clamp(min=0).sum())
        return 0.5 * self._gradients / n / len(mean) * variance


def loss_curve(points: Sequence[Point], errors: Sequence[float]) -> NDArray[np.float64]:
    """Returns the estimated divergence of every option, from the measured ones.

    Monotone interpolation (PCHIP, Fritsch and Butland 1984) of the logarithms; proportional to the
    error beyond the measured range on both sides.

    Args:
        points: measured (error, divergence) pairs; may be noisy, may be empty.
        errors: relative output error of every option.
    """
    values = np.asarray(errors, np.float64)
    usable = sorted((e, k) for e, k in points if e > 0)
    if not usable:
        return np.maximum(values, 0.0)
    x = np.array([e for e, _ in usable])
    y = np.maximum.accumulate(np.maximum([k for _, k in usable], 1e-12))
    distinct = np.r_[True, np.diff(x) > 1e-12 * x[1:]]
    x, y = np.log(x[distinct]), np.log(y[distinct])
    log = np.log(np.maximum(values, 1e-300))
    if len(x) > 1:
        inside = PchipInterpolator(x, y)(np.clip(log, x[0], x[-1]))
    else:
        inside = np.full_like(log, y[0])
    outside = np.minimum(log - x[0], 0) + np.maximum(log - x[-1], 0)
    result: NDArray[np.float64] = np.where(values > 0, np.exp(inside + outside), 0.0)
    return result


def removal_curve(points: Mapping[float, float], shares: Sequence[float]) -> NDArray[np.float64]:
    """Returns the estimated divergence after removing each share, from a few measured ones.

    Monotone interpolation (PCHIP) from nothing removed, where it is 0. Not of logarithms, as in
    `loss_curve`: a layer may have units that do nothing, and next to a measured 0 every curve of
    logarithms is far too low.

    Args:
        points: share that is gone, in (0, 1] -> measured divergence; may be noisy, may be empty.
        shares: the shares to estimate; within the measured ones.
    """
    x = np.array([0.0, *sorted(points)])
    y = np.maximum.accumulate([0.0, *(points[share] for share in sorted(points))])
    if len(x) == 1:
        return np.asarray(shares, np.float64)
    return np.asarray(PchipInterpolator(x, y)(np.clip(shares, 0, x[-1])), np.float64)
