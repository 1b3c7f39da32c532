"""Finding the groups of a network, and checking each one by taking a unit out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.compression.structure.heads import HeadAttention
from autocomp.compression.structure.known_attention import known_groups
from autocomp.compression.structure.surgery import (
    CONV,
    TRANSPOSED,
    mask_units,
    put_back,
    slice_units,
)
from autocomp.core.network import Network
from autocomp.core.structured import Inputs
from autocomp.errors import LayerError
from autocomp.network.forward import forward
from autocomp.network.rebinding import copy_network
from autocomp.plugins.imports import describe

_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.PReLU)
_INDICES = (100_000, 3_000_000)
"""Channels of a group, counted at each of their places, up to which a walk may go on at least, and
at most; a DenseNet-121's largest has some ten thousand."""
_SLICED = ("conv", "transposed", "linear", "matrix")
_SIDE = 64
"""Pixels a side of the images on which removals are tried, where a network takes such."""
_TOLERANCE = 1e-3
"""Largest difference between slicing and masking, as a share of the outputs' size."""


@dataclass(frozen=True)
class PruningGroups:
    """The groups of a network.

    Attributes:
        groups: those that can lose units, in forward order.
        skipped: the first layer of every other group -> why it is left alone.
    """

    groups: tuple[ChannelGroup, ...]
    skipped: dict[str, str]


def find_groups(model: nn.Module, network: Network, example: Inputs) -> PruningGroups:
    """Finds which channels go together, and takes a unit of each group out to see that it works.

    The graph is torch-pruning's (Fang et al. 2023, arXiv:2301.12900), read off autograd; attention
    that was turned into `HeadAttention` gives a group of heads. A group is left alone, and named
    with the reason, if it holds a module that is no convolution, linear layer, batch norm or PReLU,
    if it makes the network's outputs, if a layer of it is frozen or shares its weight, or if the
    network does not run, or gives other outputs than the masked one, once a unit is taken out.
    That is tried on images of 64 x 64 where the network takes larger and such.

    Args:
        model: in evaluation mode; not modified.
        network: its layers.
        example: a batch of inputs; a few examples are used.
    """
    work = copy_network(model)
    example = _small(work, example[:2])
    skipped: dict[str, str] = {}
    traced: list[tuple[Member, ...]] = []
    followed = True
    try:
        traced = _traced(model, network, example, skipped)
    except Exception as problem:  # whatever autograd or the library meets
        followed = False
        skipped[network.layers[0].name] = f"the graph cannot be traced ({describe(problem)})"
    heads = [*_heads(model), *known_groups(model)]
    covered: set[str] = set()
    order = {name: place for place, name in enumerate(x.name for x in network.layers)}
    groups: list[ChannelGroup] = []
    untraced = dict(skipped)
    raw = [*heads, *traced]
    for place, members in enumerate(raw):
        producers = [m.module for m in members if m.role == "out"]
        if covered.intersection(producers):
            continue  # they go head by head
        producers.sort(key=lambda name: order.get(name, len(order)))
        if (
            not producers
            or producers[0] in skipped.keys() - untraced.keys()
            or producers[0] in {g.name for g in groups}
        ):
            continue
        try:
            group = _tied(model, ChannelGroup(producers[0], len(members[0].channels), members))
            _check(work, network, group, example)
            groups.append(group)
            covered.update(producers if place < len(heads) else ())
            for name in producers:
                skipped.pop(name, None)
        except _NotPrunable as problem:
            skipped[producers[0]] = str(problem)
    seen = {m.module for members in raw for m in members if m.role == "out"}
    for layer in network.layers:  # behind code that autograd cannot follow
        if followed and layer.kind in _SLICED and layer.owner not in seen | covered:
            skipped.setdefault(layer.name, "the traced graph does not reach it")
    groups.sort(key=lambda group: order[group.name])
    return PruningGroups(tuple(groups), skipped)


class _NotPrunable(Exception):
    """Why a group is left alone."""


def _traced(
    model: nn.Module, network: Network, example: Inputs, failed: dict[str, str]
) -> list[tuple[Member, ...]]:
    """Returns the groups of a traced graph; layers whose group cannot be told go to `failed`."""
    import torch_pruning  # heavy

    traced = copy_network(model).eval().requires_grad_(True)
    names = {id(module): name for name, module in traced.named_modules()}
    packed = {id(a.in_proj) for a in traced.modules() if isinstance(a, HeadAttention)}
    wanted = {x.name for x in network.layers if x.kind in _SLICED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters of the model itself, which no group may hold
        graph = torch_pruning.DependencyGraph().build_dependency(traced, example_inputs=example)
    found = []
    seen: set[int] = set()
    for module in traced.modules():
        layer = names[id(module)]
        known = layer in wanted and id(module) in _ids(graph)
        if not known or id(module) in seen or id(module) in packed:
            continue
        pruner = graph.get_pruner_of_module(module).prune_out_channels
        n = graph.get_out_channels(module)
        try:
            with _bounded(20 * n * len(graph.module2node)):
                items = list(graph.get_pruning_group(module, pruner, list(range(n))))
        except _NotPrunable as problem:
            failed[layer] = str(problem)
            continue
        except Exception as problem:  # the library does not know every operator
            failed[layer] = f"its group cannot be traced ({describe(problem)})"
            continue
        seen.update(id(i.dep.target.module) for i in items if _is_out(graph, i))
        found.append(_members(graph, items, names, n))
    return found


@contextmanager
def _bounded(usual: int) -> Iterator[None]:
    """Ends the library's walk through a graph whose indices grow without end, as Swin's do.

    Args:
        usual: more channels, counted at each of their places, than a group of such a network has.
    """
    from torch_pruning.dependency import Group

    plain, count = Group.add_dep, 0

    def add(self: Any, dep: Any, idxs: Any) -> Any:
        nonlocal count
        count += len(idxs)
        if count > min(max(usual, _INDICES[0]), _INDICES[1]):
            raise _NotPrunable("its channels are mapped onto each other without end")
        return plain(self, dep, idxs)

    Group.add_dep = add
    try:
        yield
    finally:
        Group.add_dep = plain


def _ids(graph: Any) -> set[int]:
    return {id(module) for module in graph.module2node}


def _is_out(graph: Any, item: Any) -> bool:
    return bool(graph.is_out_channel_pruning_fn(item.dep.handler))


def _members(graph: Any, items: list[Any], names: dict[int, str], n: int) -> tuple[Member, ...]:
    """Returns a library's group as members; modules that slicing does not know get role "?"."""
    places: dict[tuple[str, str], list[set[int]]] = {}
    for item in items:
        module = item.dep.target.module
        if id(module) not in names:
            if isinstance(module, nn.Parameter):
                places.setdefault(("a parameter of its own", "?"), [set() for _ in range(n)])
            continue  # an operation without weights
        role = _role(module, _is_out(graph, item))
        units = places.setdefault((names[id(module)], role), [set() for _ in range(n)])
        for place, unit in zip(item.idxs, item.root_idxs, strict=True):
            units[unit].add(int(place))
    return tuple(
        Member(name, role, tuple(tuple(sorted(unit)) for unit in units))
        for (name, role), units in places.items()
    )


def _role(module: nn.Module, out: bool) -> str:
    if isinstance(module, _NORM):
        return "side"
    if isinstance(module, (*CONV, *TRANSPOSED, nn.Linear)):
        return "out" if out else "in"
    return "?"


def _heads(model: nn.Module) -> list[tuple[Member, ...]]:
    found: list[tuple[Member, ...]] = []
    for name, module in model.named_modules():
        if isinstance(module, HeadAttention) and module.heads > 1:
            heads, width = module.heads, module.head_width
            inside = [tuple(range(h * width, (h + 1) * width)) for h in range(heads)]
            packed = [tuple(c + p * heads * width for p in range(3) for c in x) for x in inside]
            found.append(
                (
                    Member(f"{name}.in_proj", "out", tuple(packed)),
                    Member(f"{name}.out_proj", "in", tuple(inside)),
                )
            )
    return found


def _tied(model: nn.Module, group: ChannelGroup) -> ChannelGroup:
    """Joins units that a grouped convolution can only lose together: one in each of its groups."""
    leader = list(range(group.units))

    def find(unit: int) -> int:
        while leader[unit] != unit:
            unit = leader[unit]
        return unit

    for member in group.members:
        module: Any = model.get_submodule(member.module) if member.role != "?" else None
        groups = getattr(module, "groups", 1)
        if member.role not in ("in", "out") or groups == 1 or _is_depthwise(module):
            continue
        n = int(module.in_channels if member.role == "in" else module.out_channels)
        owner = {place: u for u, places in enumerate(member.channels) for place in places}
        if len(owner) != n:
            raise _NotPrunable(f"{member.module!r} is grouped and takes channels from elsewhere")
        for place in range(n):  # the same place in every group
            first, second = find(owner[place % (n // int(groups))]), find(owner[place])
            leader[max(first, second)] = min(first, second)
    roots = sorted({find(unit) for unit in range(group.units)})
    if len(roots) == group.units:
        return group
    joined = tuple(
        Member(
            m.module, m.role,
            tuple(
                tuple(sorted(c for u in range(group.units) if find(u) == r for c in m.channels[u]))
                for r in roots
            ),
        )
        for m in group.members
    )  # fmt: skip
    return ChannelGroup(group.name, len(roots), joined)


def _is_depthwise(module: Any) -> bool:
    return bool(module.groups == module.in_channels == module.out_channels)


def _check(model: nn.Module, network: Network, group: ChannelGroup, example: Inputs) -> None:
    """Raises _NotPrunable unless the group can lose a unit."""
    for member in group.members:
        if member.role == "?":
            what = member.module
            if what in dict(model.named_modules()):
                what = f"{what!r} ({type(model.get_submodule(what)).__name__})"
            raise _NotPrunable(f"it holds {what}, which is left whole")
        weights = getattr(model.get_submodule(member.module), "_parameters", {})
        if not isinstance(weights.get("weight", nn.Parameter(torch.empty(0))), nn.Parameter):
            raise _NotPrunable(f"the weight of {member.module!r} is computed")
    if group.units < 2:
        raise _NotPrunable("it has one unit only")
    if not group.by_role("in"):
        raise _NotPrunable("it makes the network's outputs")
    searched = {layer.parameter for layer in network.layers}
    shared = {name for pair in network.aliases for name in pair}
    for member in group.members:
        name = f"{member.module}.weight" if member.module else "weight"
        if member.role != "side" and name not in searched:
            raise _NotPrunable(f"{member.module!r} is frozen")
        if name in shared:
            raise _NotPrunable(f"{member.module!r} shares its weight")
    kept = {group.name: tuple(range(1, group.units))}
    with torch.inference_mode(), put_back(model, [group]):
        slice_units(model, [group], kept)
        try:
            found = forward(model, example)
        except LayerError as problem:
            why = describe(problem.__cause__ or problem)
            raise _NotPrunable(f"without a unit the network fails ({why})") from None
    with torch.inference_mode(), put_back(model, [group]):
        mask_units(model, [group], kept)
        wanted = model(example)
    same = isinstance(found, Tensor) and found.shape == wanted.shape
    size = float(wanted.abs().max()) if isinstance(wanted, Tensor) else 0.0
    if not same or float((found - wanted).abs().max()) > _TOLERANCE * max(size, 1e-6):
        raise _NotPrunable("without a unit the outputs are not those of the masked network")


def _small(model: nn.Module, example: Inputs) -> Inputs:
    """Returns the images smaller, if they are large and the network makes of them as much."""
    if not isinstance(example, Tensor):
        return example
    if example.dim() != 4 or min(example.shape[2:]) <= _SIDE or not example.is_floating_point():
        return example
    small = example[..., :_SIDE, :_SIDE]
    with torch.inference_mode():
        wanted = forward(model, example)
        try:
            found = forward(model, small)
        except LayerError:  # one for images of one size
            return example
    same = isinstance(found, Tensor) and isinstance(wanted, Tensor) and found.shape == wanted.shape
    return small if same and bool(torch.isfinite(found).all()) else example
