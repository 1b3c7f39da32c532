"""One pass over the calibration images: what each layer's inputs look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.calibration.value_sample import SAMPLE, ValueSample
from autocomp.compression.recovery.gram import Gram
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network
from autocomp.core.output_site import OutputSite
from autocomp.core.structured import Inputs
from autocomp.network.modes import evaluation_mode


@dataclass(frozen=True)
class LayerStatistics:
    """What calibration knows of one layer.

    Attributes:
        layer: the layer.
        inputs: 1-D float32 sample of its input values, or None if it was not calibrated.
        minimum: least input value.
        maximum: largest input value.
        outputs: module of an `OutputSite` of the layer -> what it returns, as far as that is
            read (clipped to the site's limits).
        gram: second moments of its unfolded inputs, or None if they are not known.
    """

    layer: LayerSpec
    inputs: Tensor | None = None
    minimum: float = 0.0
    maximum: float = 0.0
    outputs: Mapping[str, ValueSample] = field(default_factory=dict)
    gram: Gram | None = None

    @property
    def input_sample(self) -> ValueSample | None:
        """The sample of the inputs with its extremes."""
        if self.inputs is None:
            return None
        return ValueSample(self.inputs, self.minimum, self.maximum)


def calibrate(
    model: nn.Module, network: Network, batches: Sequence[Inputs]
) -> dict[str, LayerStatistics]:
    """Runs `model` once in evaluation mode and records every layer's inputs, and some outputs.

    Of each batch as large a share is kept as it has of the samples.

    Args:
        model: the dense network; left as it was.
        network: its layers.
        batches: calibration inputs `(n, ...)`, on the model's device.

    Returns:
        Layer name -> statistics; `inputs` is None where the input cannot be observed.
    """
    modules = dict(model.named_modules())
    inputs: dict[str, ValueSample] = {}
    outputs: dict[str, ValueSample] = {}
    n = sum(len(images) for images in batches)
    share = SAMPLE

    def observe(layer: LayerSpec) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            for values in given:
                if isinstance(values, Tensor) and values.is_floating_point():
                    sample = ValueSample.of(values, share)
                    inputs[layer.name] = sample.joined(inputs.get(layer.name))

        return hook

    def observe_output(site: OutputSite) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                sample = ValueSample.of(output.clamp(site.low, site.high), share)
                outputs[site.module] = sample.joined(outputs.get(site.module))

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for layer in network.layers:
            if layer.quantizable_input:
                module = modules[layer.host]
                stack.callback(module.register_forward_pre_hook(observe(layer)).remove)
            for site in layer.output_sites:
                module = modules[site.module]
                stack.callback(module.register_forward_hook(observe_output(site)).remove)
        with torch.inference_mode():
            for images in batches:
                share = -(-SAMPLE * len(images) // n)
                model(images)
    # cloned: what is made in inference mode could not be used outside of it
    return {
        layer.name: _statistics(
            layer, inputs.get(layer.name),
            {s.module: outputs[s.module] for s in layer.output_sites if s.module in outputs},
        )
        for layer in network.layers
    }  # fmt: skip


def _statistics(
    layer: LayerSpec, inputs: ValueSample | None, outputs: Mapping[str, ValueSample]
) -> LayerStatistics:
    found = LayerStatistics(
        layer, outputs={m: replace(x, values=x.values.clone()) for m, x in outputs.items()}
    )
    if inputs is None:
        return found
    return replace(
        found, inputs=inputs.values.clone(), minimum=min(0.0, inputs.minimum),
        maximum=max(0.0, inputs.maximum),
    )  # fmt: skip
