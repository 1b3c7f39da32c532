"""The calibration pass behind every recovery: each layer's Gram matrix, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autocomp.compression.recovery.gram import Gram, GramSum
from autocomp.compression.recovery.layout import LIMIT, Layout
from autocomp.compression.recovery.unfold import Lines, unfolded
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.stage import OnStage, StageCount, untold
from autocomp.core.structured import Inputs
from autocomp.network.modes import evaluation_mode

ENOUGH, ENOUGH_A_COLUMN = 1 << 19, 64
"""Positions of a convolution from which its moments are computed, in all or for each column.

Where there are more, some lines of them are drawn. Neighbours see nearly the same, so that many are
needed: with an eighth of this, ResNet-20's plan at 3 % of its bytes diverged by 10 % more."""


def input_moments(
    model: nn.Module, network: Network, batches: Sequence[Inputs], limit: int = LIMIT,
    on_stage: OnStage = untold,
) -> dict[str, Gram]:  # fmt: skip
    """Runs `model` once in evaluation mode and returns the moments of every layer's inputs.

    A layer whose matrix would have more than `limit` columns gets a block-diagonal one
    (`Gram.is_whole` is False). Layers whose inputs cannot be seen (embeddings, layers that are
    never called) are left out. Layers with a bias, and layers whose outputs go straight into a
    batch norm, get centred moments: a shift of their outputs is corrected there at no cost.

    Args:
        model: the dense network; left as it was.
        network: its layers.
        batches: calibration inputs `(n, ...)`, on the model's device.
        limit: largest Gram matrix; bounds memory to 8 limit^2 bytes for each block.
        on_stage: told after each batch.
    """
    modules = dict(model.named_modules())
    sums = {layer.name: GramSum(Layout.of(layer, limit)) for layer in network.layers}
    n = sum(len(images) for images in batches)
    lines = {
        name: Lines(max(ENOUGH, ENOUGH_A_COLUMN * total.layout.width) / max(1, n))
        for name, total in sums.items()
    }

    def observe(layer: LayerSpec) -> Callable[..., None]:
        def hook(
            module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            for piece in unfolded(layer, module, inputs, kwargs, lines[layer.name]):
                sums[layer.name].add(piece)

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer in network.layers:
            if layer.kind != "embedding":
                for module in _users(model, modules, layer):
                    handle = module.register_forward_hook(observe(layer), with_kwargs=True)
                    stack.callback(handle.remove)
        count = StageCount("calibration", n, on_stage)
        with torch.inference_mode():
            for images in batches:
                model(images)
                count.add(len(images))
    found = {name: gram for name, total in sums.items() if (gram := total.result())}
    absorbing = absorbing_layers(model, network, batches[0][:2])
    return {name: gram.centre() if name in absorbing else gram for name, gram in found.items()}


def absorbing_layers(model: nn.Module, network: Network, images: Inputs) -> set[str]:
    """Returns the layers behind which a shift of the outputs is corrected at no cost.

    Those with a bias, and those whose outputs go straight into a batch norm; not those whose weight
    several modules share, each with a bias or a norm of its own.

    Args:
        model: the dense network; run once on `images` and left as it was.
        network: its layers.
        images: a few inputs.
    """
    modules = dict(model.named_modules())
    absorbing = {layer.name for layer in network.layers if layer.bias}
    outputs: dict[int, tuple[Tensor, str]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[id(output)] = (output, name)  # held, so that no id is used twice

        return hook

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and id(inputs[0]) in outputs:
            absorbing.add(outputs[id(inputs[0])][1])

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer in network.layers:
            if layer.kind not in ("embedding", "attention"):
                for module in _users(model, modules, layer):
                    stack.callback(module.register_forward_hook(keep(layer.name)).remove)
        for module in modules.values():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                stack.callback(module.register_forward_pre_hook(note).remove)
        with torch.inference_mode():
            model(images)
    shared = {x.name for x in network.layers if len(_users(model, modules, x)) > 1}
    return absorbing - shared


def _users(model: nn.Module, modules: dict[str, nn.Module], layer: LayerSpec) -> list[nn.Module]:
    """Returns the modules that use the layer's weight, those that share it included."""
    host = modules[layer.host]
    if layer.kind == "attention":
        return [host]
    weight = model.get_parameter(layer.parameter)
    return [
        m
        for m in modules.values()
        if isinstance(m, type(host)) and any(p is weight for p in m._parameters.values())
    ]
