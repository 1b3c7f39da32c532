"""A network from a compressed file made trainable within its plan, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autocomp.artifacts.packed import PackedModel
from autocomp.compression.noted_file import file_of, note_file, noted_file
from autocomp.compression.saving import are_signs, code_range
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.quantized import Quantized
from autocomp.errors import TrainingError
from autocomp.network.quantizers import (
    output_quantizer_of,
    quantizer_of,
    take_output_quantizer,
    take_quantizer,
)
from autocomp.training.coded_weight import CodedWeight, MaskedWeight
from autocomp.training.learned_range import LearnedRange

MASKS = ("fixed", "free")
SCALES = ("fixed", "learned")
_RANGE = "learned_range"
_OUTPUT_RANGE = "learned_output_range"
_REFRESH = "_autocomp_refresh"
_ORDER = "_autocomp_order"


@dataclass(frozen=True)
class Latent:
    """A compressed weight of a network that is being trained.

    Attributes:
        name: the weight's state-dict name in the file.
        latent: what is trained.
        form: what makes the weight of it.
    """

    name: str
    latent: nn.Parameter
    form: CodedWeight


def trainable(
    network: nn.Module,
    *,
    dense: nn.Module | Mapping[str, Tensor] | None = None,
    masks: str = "fixed",
    scales: str = "fixed",
) -> nn.Module:
    """Makes a network that `load` or a search gave trainable within its plan, in place.

    Every compressed weight is computed from a latent tensor (parametrizations of torch), so any
    optimizer, loop or framework may train the network as it is: quantized weights stay codes times
    scales, zeros stay zero, inputs that are rounded stay so. `freeze` makes it a plain network
    again, which `autocomp.save` writes.

    Batch norms of a quantized network are fused, see `docs/concepts.md`: their statistics are 0 and
    1, and what is trained are gain and shift. Leave them in evaluation mode (`network.eval()`).

    Args:
        network: the network; its tensors as the file has them.
        dense: the dense network, or tensors by name, from which the codes were rounded: latents
            start as near to it as their codes allow. Tensors of another shape are not looked at.
        masks: "fixed", or "free": zeros of quantized layers may become other codes (those of N:M
            patterns and of one bit never).
        scales: "fixed", or "learned": on the grid that files hold.

    Returns:
        The network.

    Raises:
        TrainingError: if it came from no compressed file, or is trainable already.
    """
    packed = _file_of(network)
    _check_option("masks", masks, MASKS)
    _check_option("scales", scales, SCALES)
    if is_trainable(network):
        raise TrainingError(
            "A network is made trainable once, but this one is already; train it, or freeze it."
        )
    source = dense.state_dict() if isinstance(dense, nn.Module) else dict(dense or {})
    names = _places(network)
    for parameter in network.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    plans = {layer.parameter: packed.plan[layer.name] for layer in packed.layers}
    for name, stored in packed.weights.items():
        choice = plans[name]
        parameter = network.get_parameter(name)
        pruned = bool(choice.weights.sparsity or choice.weights.pattern)
        form: CodedWeight | MaskedWeight
        latent = parameter.detach()
        if isinstance(stored, Quantized):
            low, high = code_range(stored, choice)
            free = not pruned or (masks == "free" and not choice.weights.pattern)
            form = CodedWeight(
                stored.codes, stored.scale, low, high, free, scales == "learned",
                are_signs(stored, choice), parameter.dtype,
            )  # fmt: skip
            known = source.get(name)
            fits = known is not None and known.shape == stored.codes.shape
            latent = form.start(stored.codes, known if fits else None)
        elif pruned:
            form = MaskedWeight(stored != 0)
        else:
            continue
        form = form.to(parameter.device)
        _parametrize(network, names[id(parameter)], form, latent.to(parameter.device))
    device = next(network.parameters()).device
    for layer in packed.layers:
        quantizer = packed.activations.get(layer.name)
        host = network.get_submodule(layer.host)
        if quantizer is not None and quantizer_of(host) is not None:
            take_quantizer(host)
            learned = LearnedRange(quantizer).to(device)
            host.add_module(_RANGE, learned)
            host.register_forward_pre_hook(learned)
        for output in packed.outputs.get(layer.name, ()):
            module = network.get_submodule(output.module)
            if output_quantizer_of(module) is not None:
                take_output_quantizer(module)
                learned = LearnedRange(output.quantizer).to(device)
                module.add_module(_OUTPUT_RANGE, learned)
                module.register_forward_hook(learned.on_output)
    return network


def freeze(network: nn.Module) -> nn.Module:
    """Makes a network plain again whose training within its plan is done, in place.

    Args:
        network: what `trainable` gave, trained. One that is plain already stays as it is.

    Returns:
        The network, whose weights are what its codes now say, ready for `autocomp.save`. A free
        mask has become that of the codes.

    Raises:
        TrainingError: if it came from no compressed file, or a number is not finite.
    """
    packed = _file_of(network)
    weights = dict(packed.weights)
    for latent in latents(network):
        if not bool(torch.isfinite(latent.latent).all()):
            raise TrainingError(
                f"A trained network must be finite, but {latent.name!r} holds NaN or infinity; "
                "go back to an earlier state, and train with a smaller learning rate."
            )
        codes = latent.form.codes(latent.latent.detach()).cpu()
        before = packed.weights[latent.name]
        assert isinstance(before, Quantized)
        weights[latent.name] = Quantized(
            codes.to(before.codes.dtype), latent.form.steps().detach().cpu().float()
        )
    for name, places in _parametrized(network):
        value = parametrized_value(network, name)
        plain = nn.Parameter(value)
        for host, key in places:
            _unparametrize(host, key)
            setattr(host, key, plain)
    activations, outputs = dict(packed.activations), dict(packed.outputs)
    for layer in packed.layers:
        host = network.get_submodule(layer.host)
        learned = host._modules.get(_RANGE)
        if isinstance(learned, LearnedRange):
            activations[layer.name] = learned.frozen()
            _unhook(host, learned)
            del host._modules[_RANGE]
            host.register_forward_pre_hook(activations[layer.name])
        if layer.name in outputs:
            outputs[layer.name] = tuple(_frozen(network, x) for x in outputs[layer.name])
    for module in network.modules():
        first, last = vars(module).pop(_REFRESH, (None, None))
        if first is not None:
            module._forward_pre_hooks.pop(first, None)
            module._forward_hooks.pop(last, None)
            module._forward_hooks_always_called.pop(last, None)
        order = vars(module).pop(_ORDER, ())
        for key in order:  # a parameter that is set anew goes to the end
            if key in module._parameters:
                module._parameters[key] = module._parameters.pop(key)
    note_file(network, replace(packed, weights=weights, activations=activations, outputs=outputs))
    return network


def _frozen(network: nn.Module, output: OutputQuantizer) -> OutputQuantizer:
    """Puts a plain quantizer in the place of one whose range was trained, and returns it."""
    module = network.get_submodule(output.module)
    learned = module._modules.get(_OUTPUT_RANGE)
    if not isinstance(learned, LearnedRange):
        return output
    for key, known in list(module._forward_hooks.items()):
        if known == learned.on_output:
            del module._forward_hooks[key]
    del module._modules[_OUTPUT_RANGE]
    made = replace(output, quantizer=learned.frozen())
    module.register_forward_hook(made)
    return made


def is_trainable(network: nn.Module) -> bool:
    """Whether `trainable` has changed a network, and `freeze` has not yet."""
    return any(True for _ in _parametrized(network)) or any(
        isinstance(module, LearnedRange) for module in network.modules()
    )


def latents(network: nn.Module) -> list[Latent]:
    """Returns the quantized weights of a network that is trainable, each once, in file order."""
    found = []
    for name, _ in _parametrized(network):
        latent, form = _form_of(network, name)
        if isinstance(form, CodedWeight):
            found.append(Latent(name, latent, form))
    return found


def plain_name(name: str) -> str:
    """Returns the name in the file of what a parameter of a trainable network stands for."""
    return name.replace("parametrizations.", "").removesuffix(".original")


def parametrized_value(network: nn.Module, name: str) -> Tensor:
    """Returns what a compressed weight is now."""
    owner, _, key = name.rpartition(".")
    with torch.no_grad():
        value: Tensor = getattr(network.get_submodule(owner), key)
        return value.detach().clone()


def _file_of(network: nn.Module) -> PackedModel:
    packed = file_of(network) if isinstance(network, nn.Module) else None
    if packed is None:
        raise TrainingError(
            "A network must come from autocomp.load or a search to be trained within its plan, but "
            f"this {type(network).__name__} does not; compress it first."
        )
    if noted_file(network) is None and not is_trainable(network):
        raise TrainingError(
            "A network must have the tensors of its file to be trained within its plan, but their "
            "shapes have changed; load the file again."
        )
    return packed


def _check_option(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise TrainingError(f"`{name}` must be one of {', '.join(known)}, but got {value!r}.")


def _places(network: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Returns each parameter's id -> the modules that hold it, and under which key."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in network.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append((module, key))
    return found


def _parametrize(
    network: nn.Module, places: list[tuple[nn.Module, str]], form: nn.Module, latent: Tensor
) -> None:
    """Puts a parametrization on every place of a weight; tied places share latents and form."""
    shared: nn.Parameter | None = None
    for host, key in places:
        if _ORDER not in vars(host):
            object.__setattr__(host, _ORDER, tuple(host._parameters))
        parametrize.register_parametrization(host, key, form, unsafe=True)
        held: Any = host.parametrizations[key]  # type: ignore[index]
        if shared is None:
            shared = nn.Parameter(latent.clone())
        held.original = shared
        if isinstance(host, nn.RNNBase) and _REFRESH not in vars(host):
            first = host.register_forward_pre_hook(_refresh)
            last = host.register_forward_hook(_detach, always_call=True)
            object.__setattr__(host, _REFRESH, (first.id, last.id))


def _unparametrize(host: nn.Module, key: str) -> None:
    """Takes a parametrization away, from this module alone.

    Torch deletes the property from the module's class, which copies of a network share.
    """
    held: Any = host.parametrizations
    del held[key]
    kind = type(host)
    if not len(held):
        del host._modules["parametrizations"]
        host.__class__ = kind.__bases__[0]
        return
    left = {k: v for k, v in vars(kind).items() if k not in (key, "__dict__", "__weakref__")}
    host.__class__ = type(kind.__name__, kind.__bases__, left)


def _refresh(module: nn.Module, inputs: object) -> None:
    """Hands a recurrent stack its weights anew: it keeps a list of them beside its parameters."""
    names: Any = module._flat_weights_names
    module._flat_weights = [getattr(module, name) for name in names]  # type: ignore[assignment]


def _detach(module: nn.Module, inputs: object, output: object) -> None:
    """Takes the gradients' graph out of that list again: a network with one cannot be copied."""
    weights: Any = module._flat_weights
    module._flat_weights = [weight.detach() for weight in weights]  # type: ignore[assignment]


def _parametrized(
    network: nn.Module,
) -> Iterator[tuple[str, list[tuple[nn.Module, str]]]]:
    """Yields each of our parametrized weights: its name, and the places that share it."""
    found: dict[int, tuple[str, list[tuple[nn.Module, str]]]] = {}
    for name, module in network.named_modules():
        held = module._modules.get("parametrizations")
        if not isinstance(held, nn.ModuleDict):
            continue
        for key, chain in held.items():
            form = chain[0]  # type: ignore[index]
            if isinstance(form, (CodedWeight, MaskedWeight)):
                whole = f"{name}.{key}" if name else key
                found.setdefault(id(form), (whole, []))[1].append((module, key))
    yield from found.values()


def _form_of(network: nn.Module, name: str) -> tuple[nn.Parameter, nn.Module]:
    owner, _, key = name.rpartition(".")
    chain: Any = network.get_submodule(owner).parametrizations[key]  # type: ignore[index]
    return chain.original, chain[0]


def _unhook(host: nn.Module, hook: object) -> None:
    for key, known in list(host._forward_pre_hooks.items()):
        if known is hook:
            del host._forward_pre_hooks[key]
