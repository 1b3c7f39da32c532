"""From any `nn.Module` and example inputs to its `Network`: what can be compressed, and MACs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.errors import LayerError
from autocomp.layers import LayerSpec, Network, split_kept
from autocomp.modes import evaluation_mode

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORM_STATISTICS = ("running_mean", "running_var")
_MACS = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], int]


def analyse(model: nn.Module, example_inputs: Tensor, keep: Iterable[str] = ()) -> Network:
    """Lists the layers of `model` that can be compressed, with MACs of a real forward pass.

    Convolutions of one to three dimensions (transposed, grouped and depthwise too), linear and
    embedding layers and the projections of `nn.MultiheadAttention` become layers, in the order in
    which a forward pass calls them; ones that it never calls come last, with no MACs. A weight that
    several modules share is one layer. Every other parameter is kept as it is.

    Args:
        model: not modified; run once in evaluation mode without gradients.
        example_inputs: a batch `(n, ...)` that `model` accepts.
        keep: names of layers to leave alone.

    Raises:
        LayerError: if the forward pass fails, `keep` names an unknown layer, or no layer is left.
    """
    sites = _sites(model)
    macs, calls, order = _trace(model, example_inputs, sites)
    ranked = sorted(sites, key=lambda name: order.get(name, len(sites)))
    seen: dict[int, list[str]] = {}
    for name in ranked:  # tied weights count once; their MACs add up
        seen.setdefault(id(sites[name].weight), []).append(name)
    specs = [
        sites[group[0]].spec(
            macs=sum(macs.get(name, 0) for name in group),
            calls=sum(calls.get(name, 0) for name in group),
            hookable=len(group) == 1 and sites[group[0]].hookable,
        )
        for group in seen.values()
    ]
    searched, kept = split_kept(specs, keep)
    return _sort_tensors(model, searched, kept)


class _Site:
    """A place where a weight is used: the module that is called, and how to count its MACs."""

    def __init__(
        self, name: str, parameter: str, module: nn.Module, weight: Tensor, kind: str,
        count: _MACS, hookable: bool, bias: bool,
    ) -> None:  # fmt: skip
        self.name, self.parameter, self.module, self.weight = name, parameter, module, weight
        self.kind, self.count, self.hookable, self.bias = kind, count, hookable, bias

    def spec(self, macs: int, calls: int, hookable: bool) -> LayerSpec:
        transposed = self.kind == "transposed"
        groups = getattr(self.module, "groups", 1)
        stride = getattr(self.module, "stride", 1)
        return LayerSpec(
            name=self.name,
            parameter=self.parameter,
            kind=self.kind,
            shape=tuple(self.weight.shape),
            out_axis=1 if transposed else 0,
            in_axis=0 if transposed else 1,
            groups=int(groups),
            stride=int(stride[0] if isinstance(stride, tuple) else stride),
            macs=macs,
            calls=calls,
            quantizable_input=hookable,
            bias=self.bias,
        )


def _sites(model: nn.Module) -> dict[str, _Site]:
    sites: dict[str, _Site] = {}
    attention = {id(m.out_proj) for m in model.modules() if isinstance(m, nn.MultiheadAttention)}

    def add(
        name: str, parameter: str, module: nn.Module, weight: Any, kind: str,
        count: _MACS, hookable: bool, bias: object,
    ) -> None:  # fmt: skip
        if not isinstance(weight, nn.Parameter):
            return  # computed weights (weight norm and other parametrizations) stay as they are
        if weight.dim() < 2 or not weight.is_floating_point() or weight.numel() == 0:
            return
        sites[name] = _Site(
            name, parameter, module, weight, kind, count, hookable, isinstance(bias, Tensor)
        )

    for name, module in model.named_modules():
        dot = f"{name}." if name else ""
        label = name or "model"  # the network may be a single layer
        if isinstance(module, nn.MultiheadAttention):
            bias: object
            for part in ("in_proj", "q_proj", "k_proj", "v_proj"):
                weight = getattr(module, f"{part}_weight")
                add(f"{dot}{part}", f"{dot}{part}_weight", module, weight, "attention",
                    _projection_macs(part), part == "in_proj", module.in_proj_bias)  # fmt: skip
            output = module.out_proj
            add(f"{dot}out_proj", f"{dot}out_proj.weight", module, output.weight, "attention",
                _projection_macs("out_proj"), False, output.bias)  # fmt: skip
            continue
        if id(module) in attention:
            continue
        for types, kind, count in _KINDS:
            if isinstance(module, types):
                weight, bias = module._parameters.get("weight"), getattr(module, "bias", None)
                add(label, f"{dot}weight", module, weight, kind, count, kind != "embedding", bias)
                break
    return sites


def _conv_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return int(output.numel()) * int(module.weight[0].numel())


def _transposed_macs(
    module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> int:
    given = inputs[0] if inputs else kwargs["input"]
    return int(given.numel()) * int(module.weight[0].numel())


def _linear_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return int(output.numel()) * int(module.in_features)


def _no_macs(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    return 0


def _projection_macs(part: str) -> _MACS:
    def count(module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
        names = ("query", "key", "value")
        given = {**dict(zip(names, inputs, strict=False)), **kwargs}
        query, key, value = (given[name] for name in names)
        width = module.embed_dim
        costs = {
            "q_proj": query.numel() * width,
            "k_proj": key.numel() * width,
            "v_proj": value.numel() * width,
            "out_proj": query.numel() * width,
        }
        if part == "in_proj":
            return int(costs["q_proj"] + costs["k_proj"] + costs["v_proj"])
        return int(costs[part])

    return count


_KINDS: tuple[tuple[Any, str, _MACS], ...] = (
    (_CONV, "conv", _conv_macs),
    (_TRANSPOSED, "transposed", _transposed_macs),
    (nn.Linear, "linear", _linear_macs),
    (nn.Embedding, "embedding", _no_macs),
)


def _trace(
    model: nn.Module, example_inputs: Tensor, sites: dict[str, _Site]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    macs: dict[str, int] = {}
    calls: dict[str, int] = {}
    order: dict[str, int] = {}

    def hook_for(site: _Site) -> Callable[..., None]:
        def hook(
            module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            macs[site.name] = macs.get(site.name, 0) + site.count(module, inputs, kwargs, output)
            calls[site.name] = calls.get(site.name, 0) + 1
            order.setdefault(site.name, len(order))
            if not inputs:  # called by keyword: a pre-hook would not see what it must quantize
                site.hookable = False

        return hook

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        for site in sites.values():
            stack.callback(
                site.module.register_forward_hook(hook_for(site), with_kwargs=True).remove
            )
        try:
            with torch.no_grad():
                model(example_inputs)
        except Exception as error:
            raise LayerError(
                "The network must run on its example inputs, but a batch of shape "
                f"{tuple(example_inputs.shape)} raised {type(error).__name__}: "
                f"{_one_line(error)}; check that the data fit the network."
            ) from error
    batch = len(example_inputs)
    return {name: count // batch for name, count in macs.items()}, calls, order


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else "no message"


def _sort_tensors(
    model: nn.Module, layers: tuple[LayerSpec, ...], kept: tuple[LayerSpec, ...]
) -> Network:
    stored: dict[int, str] = {}
    aliases: list[tuple[str, str]] = []
    side: list[str] = []
    exact: list[str] = []
    unsupported: list[str] = []
    weights = {spec.parameter for spec in (*layers, *kept)}
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
                known = module in norms or attribute.endswith("bias")
                (side if known and floating else unsupported).append(name)
            elif floating and attribute in _NORM_STATISTICS:
                side.append(name)
            else:
                exact.append(name)
    return Network(
        layers=layers,
        kept=kept,
        side=tuple(side),
        exact=tuple(exact),
        unsupported=tuple(unsupported),
        aliases=tuple(aliases),
        n_parameters=sum(p.numel() for p in model.parameters()),
    )
