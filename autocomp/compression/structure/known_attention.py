"""Attention of other libraries, known by the names of its parts: what can be taken out.

Each entry of the tables stands for classes of timm and transformers; whether a head can go from one
of them is proved on the network itself, by the removal test of `find_groups`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from autocomp.compression.structure.groups import Member
from autocomp.network.layers.transformers_conv1d import transformers_conv1d

_SEPARATE = (
    ("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"), ("to_q", "to_k", "to_v"),
)  # fmt: skip
"""Projections that are linear layers of their own."""
_OUTPUTS = ("out_proj", "o_proj", "out_lin", "o", "to_out.0", "proj", "dense")
"""What reads the heads, within the attention."""
_BESIDE = ("output.dense", "out_proj", "dense")
"""The same, beside the attention."""
_WIDTHS = ("attention_head_size", "head_dim", "key_value_proj_dim", "head_size", "dim_head")
"""Width of a head. Their number follows from the weights: the classes reshape to -1 heads."""


_PACKED = (("qkv", "proj"), ("c_attn", "c_proj"))
"""Projections of queries, keys and values in one layer, and what reads the heads."""
_TOTALS = ("attn_dim", "split_size")
"""Width of all heads together, where a class keeps it beside their number."""


def known_groups(model: nn.Module) -> list[tuple[Member, ...]]:
    """Returns a group for every attention and feed-forward that is known by its names."""
    found = []
    for name, module in model.named_modules():
        members = _separate(model, name, module) or _packed(name, module) or _neurons(name, module)
        if members:
            found.append(members)
    return found


def _separate(model: nn.Module, name: str, module: nn.Module) -> tuple[Member, ...]:
    """Returns the heads of an attention with three projections; () if it is none.

    Of fewer keys than queries, each key's head goes with the queries that share it.
    """
    width = next((w for x in _WIDTHS if type(w := getattr(module, x, None)) is int), 0)
    for parts in _SEPARATE:
        layers = [getattr(module, part, None) for part in parts]
        if not width or not all(isinstance(layer, nn.Linear) for layer in layers):
            continue
        queries, keys, values = (int(layer.out_features) for layer in layers)  # type: ignore[union-attr]
        reader = _reader(model, name, queries)
        heads = keys // width
        if reader is None or keys != values or keys % width or queries % keys or heads < 2:
            continue
        share = queries // heads
        own = tuple(tuple(range(h * width, (h + 1) * width)) for h in range(heads))
        asking = tuple(tuple(range(h * share, (h + 1) * share)) for h in range(heads))
        dot = f"{name}." if name else ""
        return (
            Member(f"{dot}{parts[0]}", "out", asking), Member(f"{dot}{parts[1]}", "out", own),
            Member(f"{dot}{parts[2]}", "out", own), Member(reader, "in", asking),
        )  # fmt: skip
    return ()


def _reader(model: nn.Module, name: str, width: int) -> str | None:
    """Returns the linear layer that reads the heads of an attention."""
    dot = f"{name}." if name else ""
    parent = name.rpartition(".")[0]
    above = f"{parent}." if parent else ""
    modules = dict(model.named_modules())
    for place in (*(dot + x for x in _OUTPUTS), *(above + x for x in _BESIDE if name)):
        layer = modules.get(place)
        if isinstance(layer, nn.Linear) and layer.in_features == width:
            return place
    return None


def _packed(name: str, module: Any) -> tuple[Member, ...]:
    """Returns the heads of an attention with one projection; () if it is none."""
    parts = _parts(module)
    if not parts or module.num_heads < 2:
        return ()
    heads, width = module.num_heads, module.head_dim
    if _sizes(getattr(module, parts[0]))[0] != 3 * heads * width:
        return ()
    if _sizes(getattr(module, parts[1]))[1] != heads * width:
        return ()
    inside = tuple(tuple(range(h * width, (h + 1) * width)) for h in range(heads))
    packed = tuple(tuple(c + p * heads * width for p in range(3) for c in x) for x in inside)
    dot = f"{name}." if name else ""
    return (Member(f"{dot}{parts[0]}", "out", packed), Member(f"{dot}{parts[1]}", "in", inside))


def _neurons(name: str, module: Any) -> tuple[Member, ...]:
    """Returns the neurons between two layers that no tracer follows: GPT-2's; () without them."""
    first, second = (getattr(module, x, None) for x in ("c_fc", "c_proj"))
    if first is None or second is None or not (is_turned(first) and is_turned(second)):
        return ()
    count = _sizes(first)[0]
    if count != _sizes(second)[1]:
        return ()
    units = tuple((n,) for n in range(count))
    dot = f"{name}." if name else ""
    return (Member(f"{dot}c_fc", "out", units), Member(f"{dot}c_proj", "in", units))


def _parts(module: Any) -> tuple[str, str] | None:
    """Returns the names of a packed attention's layers; None if it is none."""
    if not all(type(getattr(module, x, None)) is int for x in ("num_heads", "head_dim")):
        return None
    for parts in _PACKED:
        layers = [getattr(module, x, None) for x in parts]
        if all(isinstance(x, nn.Linear) or (x is not None and is_turned(x)) for x in layers):
            return parts
    return None


def is_turned(module: nn.Module) -> bool:
    """Whether a module is a linear layer whose weight is (inputs, outputs): `Conv1D` of GPT-2."""
    return transformers_conv1d(module) is not None and hasattr(module, "nf")


def _sizes(layer: Any) -> tuple[int, int]:
    """Returns a layer's numbers of outputs and inputs."""
    first, second = layer.weight.shape
    return (second, first) if is_turned(layer) else (first, second)


def has_head_count(module: nn.Module) -> bool:
    """Whether a module is an attention that says how many heads it has, beside its weights."""
    return _parts(module) is not None


def note_heads(model: nn.Module) -> None:
    """Sets the number of heads of packed attention to what its weights hold, in place."""
    for module in model.modules():
        parts = _parts(module)
        if parts is None:
            continue
        known: Any = module
        width = known.head_dim
        heads, rest = divmod(_sizes(getattr(known, parts[0]))[0], 3 * width)
        if rest or heads < 1 or heads == known.num_heads:
            continue
        known.num_heads = heads
        for name in _TOTALS:
            if type(getattr(known, name, None)) is int:
                setattr(known, name, heads * width)
