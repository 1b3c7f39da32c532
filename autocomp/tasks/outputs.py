"""Taking a network's output apart: which of its tensors the task is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from autocomp.errors import DataError

USUAL = ("logits", "out", "output", "outputs", "predictions", "pred", "scores", "y")
"""Names under which outputs that are mappings or dataclasses hold what counts."""


def selected(raw: Any, output: str, usual: tuple[str, ...] = USUAL) -> Tensor:
    """Returns one tensor of an output.

    A tensor is itself. Of a tuple or list the first tensor is taken; of a mapping, a dataclass or
    a named tuple the one of a usual name, or the only one.

    Args:
        raw: what the network returned.
        output: the name, or the place, of the entry to take; "" to find it.
        usual: names to look for, the first found counts.

    Raises:
        DataError: if there is no such entry, or none of a usual name among several.
    """
    if isinstance(raw, Tensor) and not output:
        return raw
    named = _entries(raw)
    if output:
        found = named.get(output)
        if not isinstance(found, Tensor):
            raise DataError(
                f"The network's output must have a tensor {output!r}, but has {_told(raw, named)}; "
                "name one with `output`."
            )
        return found
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    for name in usual:
        if name in tensors:
            return tensors[name]
    if tensors and (isinstance(raw, (tuple, list)) or len(tensors) == 1):
        return next(iter(tensors.values()))
    if isinstance(raw, (tuple, list)) and raw and not tensors:
        return selected(raw[0], "", usual)
    raise DataError(
        f"The network must return a tensor, or a structure in which one is found, but returned "
        f"{_told(raw, named)}; name one with `output`."
    )


def _entries(raw: Any) -> dict[str, Any]:
    if isinstance(raw, Mapping):
        return {str(name): value for name, value in raw.items()}
    if isinstance(raw, (tuple, list)):
        places = {str(place): value for place, value in enumerate(raw)}
        names = getattr(raw, "_fields", ())  # of a named tuple
        return {name: value for name, value in zip(names, raw, strict=False)} | places
    if is_dataclass(raw) and not isinstance(raw, type):
        return {part.name: getattr(raw, part.name) for part in fields(raw)}
    return {}


def _told(raw: Any, entries: Mapping[str, Any]) -> str:
    names = [name for name, value in entries.items() if isinstance(value, Tensor)]
    kind = type(raw).__name__
    return f"a {kind} with {', '.join(map(repr, names))}" if names else f"a {kind}"
