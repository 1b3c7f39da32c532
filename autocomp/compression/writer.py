"""The one place that writes a plan into a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autocomp.artifacts.side import round_side
from autocomp.compression.compressed_layer import CompressedLayer
from autocomp.compression.store import CompressionStore
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.network.quantizers import take_output_quantizer, take_quantizer


class PlanWriter:
    """Writes plans into one copy of the network, one after another.

    Only layers whose choice differs from the one in place are written. Biases, normalisation
    parameters and statistics are put back to the dense network's each time, so that a plan's result
    never depends on the plan before it.
    """

    def __init__(self, model: nn.Module, store: CompressionStore) -> None:
        self.model = model
        self._store = store
        self._in_place = store.network.neutral_plan()
        self._foreign: set[str] = set()  # layers whose weights are not the store's
        self._hooks: dict[str, RemovableHandle] = {}
        self._inherited: dict[str, ActivationQuantizer] = {}
        self._output_hooks: dict[str, RemovableHandle] = {}
        self._inherited_outputs: dict[str, OutputQuantizer] = {}
        self._dense_side = {
            name: tensor.detach().clone() for name, tensor in _named(model, store.network.side)
        }

    @torch.no_grad()
    def write(self, plan: Plan, options: Mapping[str, CompressedLayer] | None = None) -> None:
        """Puts the plan's weights and activation quantizers into the network, and corrects biases.

        b' = b - dW E[x]: the mean of each output stays where it was (Nagel et al. 2019,
        arXiv:1906.04721). `round_side` comes after this and after any other correction.

        Args:
            plan: one choice per layer.
            options: layer name -> what stands for the store's option of that choice.

        Raises:
            PlanError: if the plan does not fit the network.
            ChoiceError: if a layer's input cannot be quantized.
        """
        self._store.network.check(plan)
        for layer in self._store.network.layers:
            choice, before = plan[layer.name], self._in_place[layer.name]
            other = None if options is None else options.get(layer.name)
            if choice == before and other is None and layer.name not in self._foreign:
                continue
            quantizer = None  # made before anything is written: it may raise
            if choice.activations.bits < 32:
                quantizer = self._store.activation(layer, choice.activations.bits)
            outputs: dict[str, OutputQuantizer] = {}
            if choice.activations.output_bits < 32:
                found = self._store.outputs(layer, choice.activations.output_bits)
                outputs = {output.module: output for output in found}
            stored = self._store.weight(layer, choice) if other is None else other.weight
            parameter = self.model.get_parameter(layer.parameter)
            dense = stored.dequantize(parameter.dtype) if isinstance(stored, Quantized) else stored
            parameter.copy_(dense)
            if choice.activations.bits != before.activations.bits:
                self._hook(layer.name, layer.host, quantizer)
            if choice.activations.output_bits != before.activations.output_bits:
                for site in layer.output_sites:
                    self._hook_output(site.module, outputs.get(site.module))
            self._in_place = self._in_place.replace(layer.name, choice)
            (self._foreign.discard if other is None else self._foreign.add)(layer.name)
        for name, tensor in _named(self.model, self._store.network.side):
            tensor.copy_(self._dense_side[name])
        self._correct_biases(plan, options or {})

    def _correct_biases(self, plan: Plan, options: Mapping[str, CompressedLayer]) -> None:
        for layer in self._store.network.layers:
            choice = plan[layer.name]
            name = layer.bias_name
            if name is None or choice.is_neutral or name not in self._dense_side:
                continue
            other = options.get(layer.name)
            shift = self._store.shift(layer, choice) if other is None else other.shift
            if shift is not None:
                bias = self.model.get_parameter(name)
                part = bias if len(bias) == len(shift) else _section(layer, bias)
                part -= shift.to(bias.device, bias.dtype)

    @torch.no_grad()
    def round_side(self, plan: Plan) -> None:
        """Rounds biases and normalisation to what the plan's file holds; idempotent.

        Call it when they have their last values: afterwards a batch norm's statistics are 0 and 1,
        and its weight and bias hold what they were, see `artifacts/fused_norm.py`.
        """
        if plan.side_bits == 16:
            side = dict(_named(self.model, self._store.network.side))
            rounded = round_side(side, self._store.side_form)
            for name, tensor in side.items():
                tensor.copy_(rounded[name])

    def _hook(self, name: str, host: str, quantizer: ActivationQuantizer | None) -> None:
        if name in self._hooks:
            self._hooks.pop(name).remove()
        module = self.model.get_submodule(host)
        own = take_quantizer(module)  # of the network that was given: the plan's replaces it
        if own is not None:
            self._inherited[name] = own
        wanted = self._inherited.get(name) if quantizer is None else quantizer
        if wanted is not None:
            self._hooks[name] = module.register_forward_pre_hook(wanted)

    def _hook_output(self, name: str, quantizer: OutputQuantizer | None) -> None:
        if name in self._output_hooks:
            self._output_hooks.pop(name).remove()
        module = self.model.get_submodule(name)
        own = take_output_quantizer(module)
        if own is not None:
            self._inherited_outputs[name] = own
        wanted = self._inherited_outputs.get(name) if quantizer is None else quantizer
        if wanted is not None:
            self._output_hooks[name] = module.register_forward_hook(wanted)


def _section(layer: LayerSpec, bias: Tensor) -> Tensor:
    """Returns the part of a packed attention bias that belongs to one projection."""
    part = ("q_proj", "k_proj", "v_proj").index(layer.projection)
    return bias.chunk(3)[part]


def _named(model: nn.Module, names: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return [(name, tensors[name]) for name in names]
