"""Replacing a layer by a chain of plain ones, and what that chain costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from autocomp.compression.low_rank.blueprint import Blueprint
from autocomp.compression.low_rank.chain import compose
from autocomp.compression.low_rank.cp import Cp
from autocomp.compression.low_rank.matrix import DataSvd, SpatialSvd, Svd
from autocomp.compression.low_rank.method import Decomposition
from autocomp.compression.low_rank.plain_layer import PlainLayer, as_plain
from autocomp.compression.low_rank.tensor_train import TensorTrain
from autocomp.compression.low_rank.tucker import Tucker
from autocomp.compression.recovery.gram import Gram
from autocomp.core.layer_spec import LayerSpec
from autocomp.errors import ChoiceError, DataError, LayerError, ModelError
from autocomp.plugins.registry import Factory, find

DECOMPOSITIONS: dict[str, Factory] = {
    "svd": Svd,
    "data-svd": DataSvd,
    "spatial-svd": SpatialSvd,
    "tucker": Tucker,
    "cp": Cp,
    "tt": TensorTrain,
}
GROUP = "autocomp.decompositions"
Layer = nn.Module | LayerSpec | PlainLayer
"""A layer, or what is known of one; only its weight's shape counts unless it says otherwise."""


def decompose(module: nn.Module, method: str, rank: int, gram: Gram | None = None) -> nn.Sequential:
    """Returns a chain of plain layers that stands for `module`.

    It has the module's dtype, device, training mode and `requires_grad`; the last layer has the
    bias. All is computed in float64. Where `gram` is centred, errors were measured around their
    mean, and the bias, if there is one, takes up (W - W') E[x], the mean that the outputs lost;
    without a bias a batch norm behind the layer must.

    Args:
        module: an `nn.Linear` or `nn.Conv1d/2d/3d` without groups; not modified.
        method: a name of `DECOMPOSITIONS` or of a plug-in.
        rank: rank in [1, `full_rank(module, method)`].
        gram: moments of the layer's inputs. `data-svd` needs them; `spatial-svd`, `tucker`, `cp`
            and `tt` get nearer to the outputs with them; `svd` uses them for the bias only.

    Raises:
        UnknownNameError: if there is no such method.
        LayerError: if the module is no such layer, or has no form of that kind.
        ChoiceError: if the rank is out of its range.
        DataError: if `gram` is of another layer, or is needed and missing.
        ModelError: if a weight is not finite.
    """
    layer = PlainLayer.of(module)
    plan = blueprint(layer, method, rank)
    source: Tensor = module.weight  # type: ignore[assignment]
    if gram is not None and not _fits(gram, source):
        raise DataError(
            f"Moments must be of the inputs of the layer, whose weight is {tuple(source.shape)}, "
            f"but are of a layer with {gram.layout.layer.shape} and {gram.layout.groups} groups; "
            "give those of the same layer."
        )
    weight = source.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(weight).all()):
        raise ModelError(
            "A weight must be finite to be decomposed, but this one holds NaN or infinity; load "
            "sound weights."
        )
    factors = make_decomposition(method).factors(weight, rank, gram)
    chain = plan.build(source.device, source.dtype)
    with torch.no_grad():
        for part, factor in zip(chain, factors, strict=True):
            part.weight.copy_(factor)  # type: ignore[operator]
        bias = module._parameters.get("bias")
        if bias is not None:
            lost = gram.shift(weight - compose(factors)) if gram and gram.centred else 0.0
            chain[-1].bias.copy_(bias.detach().to("cpu", torch.float64) + lost)  # type: ignore[operator]
    for parameter in chain.parameters():
        parameter.requires_grad_(source.requires_grad)
    return chain.train(module.training)


def make_decomposition(name: str) -> Decomposition:
    """Builds the method registered as `name`; UnknownNameError if there is none."""
    method: Decomposition = find("decomposition", name, DECOMPOSITIONS, GROUP)()
    return method


def applies_to(layer: Layer, method: str) -> bool:
    """Says whether a layer has a form of that kind; False also for what is no plain layer."""
    maker = make_decomposition(method)
    try:
        return maker.applies_to(as_plain(layer))
    except LayerError:
        return False


def full_rank(layer: Layer, method: str) -> int:
    """Returns the largest rank of a layer's form; LayerError if it has none of that kind."""
    return _method_for(as_plain(layer), method).full_rank(as_plain(layer))


def blueprint(layer: Layer, method: str, rank: int) -> Blueprint:
    """Returns the chain that `decompose` would build, without computing its weights.

    Raises:
        UnknownNameError: if there is no such method.
        LayerError: if the layer has no form of that kind.
        ChoiceError: if the rank is out of its range.
    """
    plain = as_plain(layer)
    maker = _method_for(plain, method)
    full = maker.full_rank(plain)
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= full:
        raise ChoiceError(
            f"A rank of `{method}` must be a whole number in [1, {full}] for this layer, but got "
            f"{rank!r}; choose one in it."
        )
    *parts, last = maker.pieces(plain, rank)
    return Blueprint((*parts, replace(last, bias=plain.bias)))


def n_weights(layer: Layer, method: str, rank: int) -> int:
    """Returns the number of weights of the chain, without the bias; errors as `blueprint`."""
    return blueprint(layer, method, rank).n_weights


def macs(layer: nn.Module | PlainLayer, method: str, rank: int, input_shape: Sequence[int]) -> int:
    """Returns the chain's multiply-accumulates for one example.

    Layers before a stride work on the input's size, so the size of the output does not say it.

    Args:
        layer: the layer; a spec does not know enough.
        method: the method's name.
        rank: the rank.
        input_shape: shape of one example's input, as `LayerSpec.input_shape`.
    """
    return blueprint(layer, method, rank).macs(input_shape)


def useful_ranks(layer: Layer, method: str) -> range:
    """Returns the ranks at which the chain has fewer weights than the layer, 1 first.

    Empty where none has, and where the layer has no form of that kind.
    """
    if not applies_to(layer, method):
        return range(1, 1)
    plain, maker = as_plain(layer), make_decomposition(method)
    low, high = 0, maker.full_rank(plain)
    while low < high:  # the count rises with the rank
        middle = (low + high + 1) // 2
        smaller = Blueprint(maker.pieces(plain, middle)).n_weights < plain.n_weights
        low, high = (middle, high) if smaller else (low, middle - 1)
    return range(1, low + 1)


def _method_for(layer: PlainLayer, name: str) -> Decomposition:
    maker = make_decomposition(name)
    if maker.applies_to(layer):
        return maker
    if layer.type == "linear":
        why = "a linear layer (a tensor form of one is no chain of plain layers)"
    elif layer.groups > 1:
        why = f"a {layer.type} with {layer.groups} groups"
    else:
        why = f"a {layer.type} with kernel {layer.kernel}"
    raise LayerError(
        f"`{name}` must apply to the layer, but it is {why}; take `svd` for linear layers and "
        "kernels of 1, and leave grouped convolutions whole."
    )


def _fits(gram: Gram, weight: Tensor) -> bool:
    layout = gram.layout
    alike = layout.layer.shape == tuple(weight.shape) and layout.layer.kind != "transposed"
    return alike and layout.groups == 1
