"""Small networks, quantized by rounding, as the file of a search would hold them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized

Made = tuple[nn.Module, PackedModel]
Make = Callable[..., Made]


_COMPRESSIBLE = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)


def rounded(weight: Tensor, bits: int, symmetric: bool, axis: int) -> Quantized:
    """Rounds to `bits` bits with one scale a channel of `axis`."""
    shape = [1] * weight.dim()
    shape[axis] = -1
    rows = weight.detach().movedim(axis, 0).flatten(1)
    if symmetric:
        low, high = -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
        scale = rows.abs().amax(1).clamp(min=1e-3) / high
        lower = torch.full_like(scale, low)
        upper = torch.full_like(scale, high)
    else:
        least, most = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
        scale = (most - least).clamp(min=1e-3) / (2**bits - 1)
        lower = torch.round(least / scale)
        upper = lower + 2**bits - 1
    codes = torch.round(weight.detach() / scale.reshape(shape))
    codes = torch.clamp(codes, lower.reshape(shape), upper.reshape(shape))
    return Quantized(codes.to(torch.int32), scale.reshape(shape))


def _layers(model: nn.Module) -> list[LayerEntry]:
    found = []
    inner = {m.out_proj for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            found.append(LayerEntry(f"{name}.in_proj", f"{name}.in_proj_weight", name))
            found.append(LayerEntry(f"{name}.out_proj", f"{name}.out_proj.weight", name))
        elif isinstance(module, _COMPRESSIBLE) and module not in inner:
            found.append(LayerEntry(name, f"{name}.weight", name))
    return found


@pytest.fixture(scope="session")
def quantize() -> Make:
    """Returns (network with quantized weights and inputs, what its file would hold)."""

    def made(
        model: nn.Module, images: Tensor, weight_bits: int = 32, activation_bits: int = 32,
        *, symmetric: bool = True, sparsity: float = 0.0,
    ) -> Made:  # fmt: skip
        model = copy.deepcopy(model).eval()
        layers = _layers(model)
        aliases: dict[str, str] = {}
        owners: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if owners.setdefault(id(parameter), name) != name:
                aliases[name] = owners[id(parameter)]
        layers = [x for x in layers if x.parameter not in aliases]
        ranges: dict[str, tuple[float, float]] = {}

        def watch(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
                if inputs[0].is_floating_point():
                    low, high = ranges.get(name, (0.0, 0.0))
                    ranges[name] = (
                        min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))
                    )  # fmt: skip

            return hook

        hooks = [model.get_submodule(x.host).register_forward_pre_hook(watch(x.host))
                 for x in layers]  # fmt: skip
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        weights: dict[str, Quantized | Tensor] = {}
        activations = {}
        for layer in layers:
            weight = model.get_parameter(layer.parameter)
            axis = int(isinstance(model.get_submodule(layer.host), nn.ConvTranspose2d))
            if sparsity:
                weight.data[weight.abs() <= weight.abs().quantile(sparsity)] = 0
            if weight_bits < 32:
                coded = rounded(weight, weight_bits, symmetric, axis)
                weights[layer.parameter] = coded
                weight.data = coded.dequantize()
            else:
                weights[layer.parameter] = weight.detach().clone()
            if activation_bits < 32 and layer.host in ranges and "out_proj" not in layer.name:
                low, high = ranges[layer.host]
                step = float(torch.tensor((high - low) / (2**activation_bits - 1)))
                activations[layer.name] = ActivationQuantizer(
                    activation_bits, step, -round(-low / step)
                )
                module = model.get_submodule(layer.host)
                module.register_forward_pre_hook(activations[layer.name])
        plan = Plan({
            x.name: Choice.of(
                sparsity=sparsity, weight_bits=weight_bits,
                activation_bits=activation_bits if x.name in activations else 32,
            )
            for x in layers
        })  # fmt: skip
        rest = {
            name: t for name, t in model.state_dict().items()
            if name not in weights and name not in aliases
        }  # fmt: skip
        packed = PackedModel(
            plan, tuple(layers), weights, rest, {}, aliases=aliases, activations=activations
        )
        return model, packed

    return made


def settle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Gives batch norms statistics and gains of both signs, and zero."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            n = module.num_features
            module.weight.data = torch.randn(n, generator=generator)
            module.weight.data[0] = 0
            module.bias.data = torch.randn(n, generator=generator)
            module.running_mean = 0.3 * torch.randn(n, generator=generator)
            module.running_var = 0.5 + torch.rand(n, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def small_net() -> nn.Module:
    """Convolution, depthwise convolution, batch norms, pooling, two linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return settle(
            nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(),
                nn.MaxPool2d(2), nn.Conv2d(8, 12, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                nn.Flatten(), nn.Linear(48, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 5),
            )
        )  # fmt: skip


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
