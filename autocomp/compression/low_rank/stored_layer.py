"""Reading a plain layer from a file that may be hostile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocomp.compression.low_rank.plain_layer import PADDING_MODES, TYPES, PlainLayer
from autocomp.errors import ArtifactError

_LARGEST = 1 << 24
"""Above every channel count and stride that makes sense; a file that asks for more is hostile."""


def read_layer(values: Any) -> PlainLayer:
    """Builds a layer from `PlainLayer.to_json`'s mapping, which may come from a hostile file.

    Raises:
        ArtifactError: if a field is unknown, missing, of another type or out of its bounds.
    """
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise _bad("must be a mapping of fields", values)
    extra = sorted(set(values) - set(PlainLayer.__slots__))
    if extra:
        raise _bad(f"must have only the fields {', '.join(PlainLayer.__slots__)}", extra[0])
    kind = values.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise _bad(f"must have a type out of {', '.join(TYPES)}", kind)
    ins, outs = (_whole(name, values.get(name), 1) for name in ("ins", "outs"))
    bias = values.get("bias", False)
    if not isinstance(bias, bool):
        raise _bad("must have true or false for `bias`", bias)
    if kind == "linear":
        if set(values) - {"type", "ins", "outs", "bias"}:
            raise _bad("of type linear must have no kernel", sorted(values))
        return PlainLayer(kind, ins, outs, bias=bias)
    axes = int(kind[4])
    kernel, stride, dilation = (
        _sizes(name, values.get(name), axes, 1) for name in ("kernel", "stride", "dilation")
    )
    padding = values.get("padding")
    if padding != "same":
        padding = _sizes("padding", padding, axes, 0)
    elif stride != (1,) * axes:
        raise _bad("with padding 'same' must have a stride of 1", stride)
    groups = _whole("groups", values.get("groups", 1), 1)
    if ins % groups or outs % groups:
        raise _bad("must have channels that its groups divide", (ins, outs, groups))
    mode = values.get("padding_mode", "zeros")
    if not isinstance(mode, str) or mode not in PADDING_MODES:
        raise _bad(f"must have a padding_mode out of {', '.join(PADDING_MODES)}", mode)
    return PlainLayer(kind, ins, outs, kernel, stride, padding, dilation, groups, bias, mode)


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise _bad(f"must have a whole `{name}` in [{least}, {_LARGEST}]", value)
    return value


def _sizes(name: str, values: Any, axes: int, least: int) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) != axes:
        raise _bad(f"must have {axes} numbers for `{name}`", values)
    return tuple(_whole(name, value, least) for value in values)


def _bad(rule: str, value: Any) -> ArtifactError:
    text = repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return ArtifactError(f"A stored layer {rule}, but got {text}; write the file again.")
