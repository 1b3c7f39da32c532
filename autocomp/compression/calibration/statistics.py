"""One pass over the calibration images: what each layer's inputs look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.recovery.gram import Gram
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.structured import Inputs
from autocomp.network.modes import evaluation_mode

SAMPLE = 1 << 15
"""Input values kept per layer and call, drawn evenly over the batches."""


@dataclass(frozen=True)
class LayerStatistics:
    """What calibration knows of one layer.

    Attributes:
        layer: the layer.
        inputs: 1-D float32 sample of its input values, or None if it was not calibrated.
        minimum: least input value.
        maximum: largest input value.
        gram: second moments of its unfolded inputs, or None if they are not known.
    """

    layer: LayerSpec
    inputs: Tensor | None = None
    minimum: float = 0.0
    maximum: float = 0.0
    gram: Gram | None = None


def calibrate(
    model: nn.Module, network: Network, batches: Sequence[Inputs]
) -> dict[str, LayerStatistics]:
    """Runs `model` once in evaluation mode and records every layer's inputs.

    Of each batch as large a share is kept as it has of the samples.

    Args:
        model: the dense network; left as it was.
        network: its layers.
        batches: calibration inputs `(n, ...)`, on the model's device.

    Returns:
        Layer name -> statistics; `inputs` is None where the input cannot be observed.
    """
    modules = dict(model.named_modules())
    found = {layer.name: LayerStatistics(layer) for layer in network.layers}
    n = sum(len(images) for images in batches)
    share = SAMPLE

    def observe(layer: LayerSpec) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            for values in inputs:
                if isinstance(values, Tensor) and values.is_floating_point():
                    note(layer, values.detach().reshape(-1))

        return hook

    def note(layer: LayerSpec, flat: Tensor) -> None:
        stride = max(1, flat.numel() // share) | 1  # odd: not in step with rows
        sample = flat[::stride][:share].to(torch.float32)
        before = found[layer.name]
        if before.inputs is not None:
            sample = torch.cat([before.inputs, sample])
        found[layer.name] = LayerStatistics(
            layer,
            sample,
            min(before.minimum, float(flat.min())),
            max(before.maximum, float(flat.max())),
        )

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer in network.layers:
            if layer.quantizable_input:
                module = modules[layer.host]
                stack.callback(module.register_forward_pre_hook(observe(layer)).remove)
        with torch.inference_mode():
            for images in batches:
                share = -(-SAMPLE * len(images) // n)
                model(images)
    return {
        name: LayerStatistics(
            s.layer, None if s.inputs is None else s.inputs.clone(), s.minimum, s.maximum
        )
        for name, s in found.items()
    }
