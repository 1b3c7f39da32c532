"""The one place that writes a plan into a network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autocomp.artifacts.tensors import to_half
from autocomp.calibration import host_module
from autocomp.compressors.activation import ActivationQuantizer
from autocomp.compressors.base import Quantized
from autocomp.errors import ModelError
from autocomp.options import OptionStore
from autocomp.plan import Plan


def working_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns a copy of `model` on `device`, in evaluation mode and channels-last order.

    Raises:
        ModelError: if the network cannot be copied, or holds numbers that are not finite.
    """
    try:
        copied = copy.deepcopy(model).to(device).eval()
    except Exception as error:
        raise ModelError(
            f"The network must be one that can be copied, but copy.deepcopy raised "
            f"{type(error).__name__}; use torch.nn.utils.parametrizations instead of the old "
            "weight_norm, and detach stored tensors."
        ) from error
    for name, parameter in copied.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModelError(
                f"The network's weights must be finite, but {name!r} holds NaN or infinity; "
                "give the weights of a training that converged."
            )
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return copied


class PlanWriter:
    """Writes plans into one copy of the network, one after another.

    Only layers whose choice differs from the one in place are written. Biases, normalisation
    parameters and statistics are put back to the dense network's each time, so that a plan's result
    never depends on the plan before it.
    """

    def __init__(self, model: nn.Module, store: OptionStore) -> None:
        self.model = model
        self._store = store
        self._in_place = store.network.neutral_plan()
        self._hooks: dict[str, RemovableHandle] = {}
        self._dense_side = {
            name: tensor.detach().clone() for name, tensor in _named(model, store.network.side)
        }

    @torch.no_grad()
    def write(self, plan: Plan) -> None:
        """Puts the plan's weights and activation quantizers into the network.

        Raises:
            PlanError: if the plan does not fit the network.
            ChoiceError: if a layer's input cannot be quantized.
        """
        self._store.network.check(plan)
        for layer in self._store.network.layers:
            choice, before = plan[layer.name], self._in_place[layer.name]
            if choice == before:
                continue
            quantizer = None  # made before anything is written: it may raise
            if choice.activation_bits < 32:
                quantizer = self._store.activation(layer, choice.activation_bits)
            stored = self._store.weight(layer, choice)
            parameter = self.model.get_parameter(layer.parameter)
            dense = stored.dequantize(parameter.dtype) if isinstance(stored, Quantized) else stored
            parameter.copy_(dense)
            if choice.activation_bits != before.activation_bits:
                self._hook(layer.name, host_module(layer), quantizer)
            self._in_place = self._in_place.replace(layer.name, choice)
        for name, tensor in _named(self.model, self._store.network.side):
            tensor.copy_(self._dense_side[name])
        self.round_side(plan)

    @torch.no_grad()
    def round_side(self, plan: Plan) -> None:
        """Rounds biases and normalisation to what the plan's file holds; idempotent."""
        if plan.side_bits == 16:
            for _, tensor in _named(self.model, self._store.network.side):
                tensor.copy_(to_half(tensor))

    def _hook(self, name: str, host: str, quantizer: ActivationQuantizer | None) -> None:
        if name in self._hooks:
            self._hooks.pop(name).remove()
        if quantizer is not None:
            module = self.model.get_submodule(host)
            self._hooks[name] = module.register_forward_pre_hook(quantizer)


def _named(model: nn.Module, names: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return [(name, tensors[name]) for name in names]
