"""From any `nn.Module` and example inputs to its `Network`: what can be compressed, and MACs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autocomp.core.layer_spec import LayerSpec
from autocomp.core.network import Network, split_frozen
from autocomp.core.output_site import OutputSite
from autocomp.core.structured import Inputs
from autocomp.errors import LayerError
from autocomp.network.faithful import place_of, read_places
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode
from autocomp.network.operations import counted_products
from autocomp.network.output_sites import output_sites
from autocomp.network.quantizers import output_quantizer_of
from autocomp.network.sites import Site, find_sites

_GATES = ("bias_ih", "bias_hh")
"""Beginnings of the names of recurrent layers' biases."""
_NORM_STATISTICS = ("running_mean", "running_var")
_NORM_PARTS = ("weight", "bias", *_NORM_STATISTICS)
Shapes = tuple[tuple[int, ...], tuple[int, ...]]
_FUSIBLE = ({torch.float32}, {torch.float64})


def analyse(model: nn.Module, example_inputs: Inputs, keep: Iterable[str] = ()) -> Network:
    """Lists the layers of `model` that can be compressed, with MACs of a real forward pass.

    Convolutions of one to three dimensions (transposed, grouped and depthwise too), linear,
    embedding and recurrent layers, the projections of `nn.MultiheadAttention` and what `LAYERS`
    knows become layers, in the order in
    which a forward pass calls them; ones that it uses without a call come last, with no MACs of
    their own. A weight that several modules share is one layer. Every other parameter is frozen as
    it is, and so is a weight that the forward pass never reads: writing into it would change
    nothing. What else multiplies (attention's products, recurrent layers, computed weights, layers
    without a call) is counted as one number (`ProductCounter`).

    Args:
        model: not modified; run once in evaluation mode without gradients.
        example_inputs: a batch `(n, ...)` that `model` accepts.
        keep: names of layers to leave alone.

    Raises:
        LayerError: if the forward pass fails, `keep` names an unknown layer, or no layer is left.
    """
    sites = find_sites(model)
    traced = _trace(model, example_inputs, sites)
    macs, calls, shapes = traced.macs, traced.calls, traced.shapes
    order = {name: place for place, name in enumerate(shapes)}
    ranked = sorted(sites, key=lambda name: order.get(name, len(sites)))
    seen: dict[int, list[str]] = {}
    for name in ranked:  # tied weights count once; their MACs add up
        seen.setdefault(id(sites[name].weight), []).append(name)
    specs = [
        sites[group[0]].spec(
            macs=sum(macs.get(name, 0) for name in group),
            calls=sum(calls.get(name, 0) for name in group),
            hookable=len(group) == 1 and sites[group[0]].hookable,
            shapes=shapes.get(group[0], ((), ())),
        )
        for group in seen.values()
    ]
    specs = _with_output_sites(model, example_inputs, specs)
    unread = _unread(model, example_inputs, specs)
    searched, frozen = split_frozen(specs, keep, unread)
    return replace(
        _sort_tensors(model, searched, frozen),
        unread=unread,
        other_macs=traced.other_macs,
        uncounted=traced.uncounted,
    )


def _with_output_sites(
    model: nn.Module, inputs: Inputs, specs: Sequence[LayerSpec]
) -> list[LayerSpec]:
    """Returns the layers with the places where their outputs can be rounded."""
    hosts = {x.name: x.host for x in specs if x.kind == "conv" and x.quantizable_input}
    if not hosts:
        return list(specs)
    rounded = {x.host for x in specs if x.quantizable_input}
    try:
        found = output_sites(model, inputs[:2], hosts, rounded)
    except LayerError:  # a network for batches of one size
        found = output_sites(model, inputs, hosts, rounded)

    def bits(sites: Sequence[OutputSite]) -> int:
        known = [output_quantizer_of(model.get_submodule(site.module)) for site in sites]
        return next((x.quantizer.bits for x in known if x is not None), 32)

    found = {k: v for k, v in found.items() if all(len(s.module.encode()) < 256 for s in v)}
    return [
        replace(x, output_sites=found[x.name], output_bits=bits(found[x.name]))
        if x.name in found
        else x
        for x in specs
    ]


def _unread(model: nn.Module, inputs: Inputs, specs: Sequence[LayerSpec]) -> tuple[str, ...]:
    """Names the layers whose weights no operation of a forward pass reads."""
    for few in (inputs[:2], inputs):  # some inputs may take other ways than the first
        try:
            places = read_places(model, few)
        except LayerError:  # a network for batches of one size
            places = read_places(model, inputs)
        unread = tuple(
            spec.name
            for spec in specs
            if (place := place_of(model.get_parameter(spec.parameter))) and place not in places
        )
        if not unread:
            break
    return unread


@dataclass(frozen=True)
class _Trace:
    """What a forward pass did: per layer, in the order of first calls, and beside the layers."""

    macs: dict[str, int]
    calls: dict[str, int]
    shapes: dict[str, Shapes]
    other_macs: int
    uncounted: tuple[str, ...]


def _trace(model: nn.Module, example_inputs: Inputs, sites: dict[str, Site]) -> _Trace:
    macs: dict[str, int] = {}
    calls: dict[str, int] = {}
    shapes: dict[str, Shapes] = {}

    def hook_for(site: Site) -> Callable[..., None]:
        def hook(
            module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            macs[site.name] = macs.get(site.name, 0) + site.count(module, inputs, kwargs, output)
            calls[site.name] = calls.get(site.name, 0) + 1
            first = output[0] if isinstance(output, tuple) else output
            given = next(iter((*inputs, *kwargs.values())), None)
            shapes.setdefault(site.name, (_one(given), _one(first)))
            if not inputs:  # called by keyword: a pre-hook would not see what it must quantize
                site.hookable = False

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for site in sites.values():
            stack.callback(
                site.module.register_forward_hook(hook_for(site), with_kwargs=True).remove
            )
        with torch.no_grad(), counted_products() as products:
            forward(model, example_inputs)
    batch = len(example_inputs)
    return _Trace(
        {name: count // batch for name, count in macs.items()},
        calls,
        shapes,
        max(0, products.macs - sum(macs.values())) // batch,
        tuple(products.uncounted),
    )


def _one(tensor: object) -> tuple[int, ...]:
    """Returns the shape of one example of a batch; () for what is no tensor."""
    return tuple(tensor.shape[1:]) if isinstance(tensor, Tensor) else ()


def _sort_tensors(
    model: nn.Module, layers: tuple[LayerSpec, ...], frozen: tuple[LayerSpec, ...]
) -> Network:
    stored: dict[int, str] = {}
    aliases: list[tuple[str, str]] = []
    side: list[str] = []
    exact: list[str] = []
    unsupported: list[str] = []
    weights = {spec.parameter for spec in (*layers, *frozen)}
    tensors = model.state_dict(keep_vars=True)
    parameters = {id(p) for p in model.parameters()}
    # a tied weight is stored under the name of its layer, whichever name comes first
    stored.update({id(tensors[name]): name for name in weights if name in tensors})
    norms = {
        name
        for name, module in model.named_modules()
        if hasattr(module, "running_mean") or "Norm" in type(module).__name__
    }
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            continue
        owner = stored.setdefault(id(tensor), name)
        if owner != name:
            aliases.append((name, owner))
        elif name in weights:
            continue
        else:
            module, _, attribute = name.rpartition(".")
            floating = tensor.is_floating_point()
            if id(tensor) in parameters:
                known = (
                    module in norms or attribute.endswith("bias") or attribute.startswith(_GATES)
                )
                (side if known and floating else unsupported).append(name)
            elif floating and attribute in _NORM_STATISTICS:
                side.append(name)
            else:
                exact.append(name)
    return Network(
        layers=layers,
        frozen=frozen,
        side=tuple(side),
        exact=tuple(exact),
        unsupported=tuple(unsupported),
        aliases=tuple(aliases),
        n_parameters=sum(p.numel() for p in model.parameters()),
        norms=_fusible(model, set(side), {owner for _, owner in aliases}),
    )


def _fusible(model: nn.Module, side: set[str], shared: set[str]) -> tuple[str, ...]:
    """Names the batch norms that a gain and a shift a channel can stand for."""
    found = []
    for name, module in model.named_modules():
        parts = [f"{name}.{part}" for part in _NORM_PARTS]
        if (
            isinstance(module, _BatchNorm)
            # another forward pass may mean another thing by these tensors
            and type(module).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
            and side.issuperset(parts)
            and shared.isdisjoint(parts)
            and {getattr(module, part).dtype for part in _NORM_PARTS} in _FUSIBLE
        ):
            found.append(name)
    return tuple(found)
