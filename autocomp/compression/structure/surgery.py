"""Taking units out of a network: sliced for good, or masked in place to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.structure.groups import ChannelGroup
from autocomp.compression.structure.heads import HeadAttention
from autocomp.compression.structure.known_attention import has_head_count, is_turned, note_heads
from autocomp.network.rebinding import copy_network

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Kept = Mapping[str, Sequence[int]]
"""Group name -> units that stay, sorted; groups that are not named stay whole."""


def sliced(model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept) -> nn.Module:
    """Returns a copy of `model` with smaller tensors: only the kept units are left.

    Args:
        model: not modified.
        groups: its groups.
        kept: what stays.
    """
    made = copy_network(model)
    slice_units(made, groups, kept)
    return made


def masked(model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept) -> nn.Module:
    """Returns a copy of `model` in which nothing reads the units that do not stay."""
    made = copy_network(model)
    mask_units(made, groups, kept)
    return made


def slice_units(model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept) -> None:
    """Gives the modules of a network smaller tensors: only the kept units are left."""
    for name, (outs, ins) in places(model, groups, kept).items():
        _slice(model.get_submodule(name), outs, ins)
    for module in model.modules():
        if isinstance(module, HeadAttention):
            module.heads = module.out_proj.in_features // module.head_width
    note_heads(model)


def mask_units(model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept) -> None:
    """Zeroes the weights of a network that read the units that do not stay."""
    for group in groups:
        gone = group.without(kept.get(group.name))
        for member in group.by_role("in"):
            module: Any = model.get_submodule(member.module)
            with torch.no_grad():
                zero_inputs(module, member.of(gone))


@contextmanager
def put_back(model: nn.Module, groups: Sequence[ChannelGroup]) -> Iterator[None]:
    """Undoes, at the end, what is sliced or masked of some groups inside.

    The groups' modules get weights of their own for as long as it lasts; nothing else of the
    network is copied.
    """
    touched: dict[int, nn.Module] = {
        id(m): m for m in model.modules() if isinstance(m, HeadAttention) or has_head_count(m)
    }
    for group in groups:
        for member in group.members:
            module = model.get_submodule(member.module)
            touched[id(module)] = module
    before = [
        (m, dict(m.__dict__), dict(m._parameters), dict(m._buffers)) for m in touched.values()
    ]
    try:
        for module in touched.values():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(
                        parameter.detach().clone(), parameter.requires_grad
                    )
        yield
    finally:
        for module, attributes, parameters, buffers in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)


def zero_inputs(module: nn.Module, columns: Sequence[int]) -> None:
    """Zeroes the weights that read some inputs, counted over all groups."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    inputs_first = isinstance(module, TRANSPOSED) or is_turned(module)
    zero_columns(weight, int(getattr(module, "groups", 1)), inputs_first, columns)


def zero_columns(weight: Tensor, groups: int, inputs_first: bool, columns: Sequence[int]) -> None:
    """Zeroes what reads some inputs in a tensor of a weight's shape, in place."""
    if inputs_first:
        weight[list(columns)] = 0
        return
    rows, per_group = weight.shape[0] // groups, weight.shape[1]
    for column in columns:
        group, inside = divmod(column, per_group)
        weight[group * rows : (group + 1) * rows, inside] = 0


def places(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Kept
) -> dict[str, tuple[list[int] | None, list[int] | None]]:
    """Returns module name -> (outputs that stay, inputs that stay), None where all do."""
    found: dict[str, list[set[int] | None]] = {}
    for group in groups:
        gone = group.without(kept.get(group.name))
        if not gone:
            continue
        for member in group.members:
            pair = found.setdefault(member.module, [None, None])
            side = 1 if member.role == "in" else 0
            pair[side] = (pair[side] or set()) | set(member.of(gone))
    result: dict[str, tuple[list[int] | None, list[int] | None]] = {}
    for name, (outs, ins) in found.items():
        n_out, n_in = _axes(model.get_submodule(name))
        result[name] = (
            None if outs is None else sorted(set(range(n_out)) - outs),
            None if ins is None else sorted(set(range(n_in)) - ins),
        )
    return result


def _axes(module: Any) -> tuple[int, int]:
    """Returns the number of outputs and of inputs."""
    if isinstance(module, (*CONV, *TRANSPOSED)):
        return module.out_channels, module.in_channels
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if is_turned(module):
        inputs, outputs = module.weight.shape
        return int(outputs), int(inputs)
    n = module.num_parameters if isinstance(module, nn.PReLU) else module.num_features
    return int(n), int(n)


def _slice(module: Any, outs: list[int] | None, ins: list[int] | None) -> None:
    if isinstance(module, (*CONV, *TRANSPOSED)):
        _slice_conv(module, outs, ins)
    elif isinstance(module, nn.Linear):
        weight = module.weight.data
        if outs is not None:
            weight = weight[outs]
            _cut(module, "bias", outs)
        if ins is not None:
            weight = weight[:, ins]
        _put(module, "weight", weight)
        module.out_features, module.in_features = weight.shape
    elif is_turned(module):
        weight = module.weight.data
        if outs is not None:
            weight = weight[:, outs]
            _cut(module, "bias", outs)
        if ins is not None:
            weight = weight[ins]
        _put(module, "weight", weight)
        module.nx, module.nf = weight.shape
    elif outs is not None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            if not (isinstance(module, nn.PReLU) and module.num_parameters == 1):
                _cut(module, name, outs)
        if isinstance(module, nn.PReLU):
            module.num_parameters = len(module.weight)
        else:
            module.num_features = len(outs)


def _slice_conv(module: Any, outs: list[int] | None, ins: list[int] | None) -> None:
    weight, groups = module.weight.data, int(module.groups)
    transposed = isinstance(module, TRANSPOSED)
    if groups > 1 and groups == module.in_channels == module.out_channels:  # depthwise
        stay = outs if outs is not None else ins
        assert stay is not None
        weight = weight[stay]
        _cut(module, "bias", stay)
        module.in_channels = module.out_channels = module.groups = len(stay)
        _put(module, "weight", weight)
        return
    if outs is not None:
        # a group's outputs are an axis of the transposed weight, shared by the groups
        inside = _inside(outs, module.out_channels, groups)
        weight = weight[:, inside[0]] if transposed else weight[outs]
        _cut(module, "bias", outs)
        module.out_channels = len(outs)
    if ins is not None:
        if transposed:
            weight = weight[ins]
        else:
            inside = _inside(ins, module.in_channels, groups)
            rows = weight.shape[0] // groups
            weight = torch.cat(
                [weight[g * rows : (g + 1) * rows][:, inside[g]] for g in range(groups)]
            )
        module.in_channels = len(ins)
    _put(module, "weight", weight)


def _inside(places: list[int], n: int, groups: int) -> list[list[int]]:
    """Returns, per group of an axis of `n`, the places that stay, counted within the group."""
    size = n // groups
    return [[p - g * size for p in places if p // size == g] for g in range(groups)]


def _cut(module: nn.Module, name: str, places: list[int]) -> None:
    tensor = getattr(module, name, None)
    if isinstance(tensor, Tensor):
        _put(module, name, tensor.data[places])


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    old = getattr(module, name)
    # some networks run in one order of memory only, see `network/faithful.py`
    last = old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last)
    form = torch.channels_last if last and not old.is_contiguous() else torch.contiguous_format
    tensor = tensor.contiguous(memory_format=form).clone(memory_format=form)
    if name in module._buffers:
        module._buffers[name] = tensor
    else:
        before = module._parameters[name]
        needs = before is not None and before.requires_grad
        module._parameters[name] = nn.Parameter(tensor, requires_grad=needs)
