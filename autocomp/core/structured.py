"""Inputs of several tensors: what a network takes by position or by name, as one thing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from autocomp.errors import DataError


class Structured:
    """A batch of inputs of several tensors, all with the samples along their first dimension.

    It is cut, moved and joined as one tensor would be. A network on which `AsOne` is installed
    takes it as its only argument.

    Args:
        *args: what the network takes by position: tensors, or tuples and dictionaries of them.
        **kwargs: what it takes by name; numbers, flags and None go with every batch.

    Raises:
        DataError: if there is no tensor, or tensors differ in their number of samples.
    """

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs
        sizes = {len(leaf) if leaf.dim() else -1 for leaf in self.leaves()}
        if len(sizes) != 1 or sizes == {-1}:
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in self.leaves()) or "none"
            raise DataError(
                f"Inputs must be tensors with the same number of samples along their first "
                f"dimension, but have the shapes {shapes}; put the samples first."
            )

    @classmethod
    def unchecked(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Structured:
        """Returns the inputs of a call as they are, without asking how many samples there are."""
        made = object.__new__(cls)
        made.args, made.kwargs = args, dict(kwargs)
        return made

    def leaves(self) -> list[Tensor]:
        """Returns the tensors, those by position first."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Structured:
        """Returns the same structure with each tensor changed."""
        args, kwargs = tree_map_only(Tensor, change, (self.args, self.kwargs))
        return Structured(*args, **kwargs)

    def __len__(self) -> int:
        return len(self.leaves()[0])

    def __getitem__(self, rows: Any) -> Structured:
        """Returns some samples: a slice, or their indices."""
        if isinstance(rows, int):
            raise IndexError("samples are taken by a slice or by several indices")
        return self.map(lambda leaf: leaf[rows])

    def to(self, *args: Any, **kwargs: Any) -> Structured:
        """Returns the inputs on another device."""
        return self.map(lambda leaf: leaf.to(*args, **kwargs))

    def numel(self) -> int:
        """Returns how many numbers all tensors hold."""
        return sum(leaf.numel() for leaf in self.leaves())

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the tensors that the network takes by name, and by position as "0", "1", ..."""
        for place, part in enumerate(self.args):
            if isinstance(part, Tensor):
                yield str(place), part
            elif isinstance(part, Mapping):
                yield from ((str(k), v) for k, v in part.items() if isinstance(v, Tensor))
        yield from ((k, v) for k, v in self.kwargs.items() if isinstance(v, Tensor))

    def arguments(self, forward: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns how a forward pass takes these inputs: by position and by name.

        Names that its forward pass does not know, where it takes a single argument: as a mapping.

        Raises:
            DataError: naming the entries that it does not take.
        """
        if not self.kwargs:
            return self.args, {}
        try:
            parameters = inspect.signature(forward).parameters.values()
        except (TypeError, ValueError):
            return self.args, self.kwargs
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return self.args, self.kwargs
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        extra = [name for name in self.kwargs if name not in known]
        if not extra:
            return self.args, self.kwargs
        if len(self.kwargs) == 1 and not self.args:
            return tuple(self.kwargs.values()), {}
        if len(known) == 1 and not self.args and len(extra) == len(self.kwargs):
            return (dict(self.kwargs),), {}  # it takes the mapping itself
        raise DataError(
            f"Each entry of the inputs must be an argument of the network's forward pass, but "
            f"{', '.join(map(repr, extra))} is not among {', '.join(known)}; leave it out, or "
            "wrap the network in a module that takes it."
        )


Inputs: TypeAlias = Tensor | Structured
"""A batch of inputs: one tensor, or several as one."""
AnyInputs = TypeVar("AnyInputs", Tensor, Structured, Inputs)


def leaves_of(inputs: Inputs) -> list[Tensor]:
    """Returns the tensors of a batch."""
    return inputs.leaves() if isinstance(inputs, Structured) else [inputs]


def names_of(inputs: Inputs) -> list[str]:
    """Returns a name for each tensor of `leaves_of`: its own, "input", or "input_0", ..."""
    leaves = leaves_of(inputs)
    if isinstance(inputs, Structured):
        known = {id(leaf): name for name, leaf in inputs.named() if not name.isdigit()}
        if len(leaves) > 1 or known:
            return [known.get(id(leaf), f"input_{i}") for i, leaf in enumerate(leaves)]
    return ["input"]


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Returns batches as one.

    Raises:
        DataError: if they differ in structure, or in the shape of a sample.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    columns = [leaves_of(like(part, first)) for part in parts]
    try:
        whole = [torch.cat(list(column)) for column in zip(*columns, strict=True)]
    except RuntimeError as problem:
        raise DataError(
            f"Batches must hold samples of one shape, but {problem}; pad them to one length."
        ) from None
    rest = iter(whole)
    return first.map(lambda leaf: next(rest))


def like(inputs: Inputs, first: Inputs) -> Inputs:
    """Returns a batch with its entries in another's order.

    Raises:
        DataError: if it has other entries, or another flag.
    """
    if isinstance(inputs, Structured) and isinstance(first, Structured):
        return Structured.unchecked(
            _like(inputs.args, first.args, "inputs"), _like(inputs.kwargs, first.kwargs, "inputs")
        )
    if isinstance(inputs, Structured) or isinstance(first, Structured):
        raise DataError(
            "Batches must hold the same inputs, but some hold one tensor and some several; give "
            "the same for each."
        )
    return inputs


def _like(part: Any, first: Any, where: str) -> Any:
    if isinstance(part, Mapping) and isinstance(first, Mapping):
        if set(part) != set(first):
            differs = sorted(str(key) for key in set(part) ^ set(first))[0]
            raise DataError(
                f"All samples must have the same {where}, but {differs!r} is not in each of them; "
                "give it to all, or to none."
            )
        return {key: _like(part[key], first[key], repr(str(key))) for key in first}
    if isinstance(part, (tuple, list)) and isinstance(first, (tuple, list)):
        if len(part) != len(first):
            raise DataError(
                f"All samples must have the same {where}, but some have {len(first)} and some "
                f"{len(part)}; give the same number for each."
            )
        return type(first)(_like(a, b, where) for a, b in zip(part, first, strict=True))
    if isinstance(part, Tensor) and isinstance(first, Tensor):
        return part
    if isinstance(part, Tensor) or isinstance(first, Tensor) or part != first:
        told = [type(x).__name__ if isinstance(x, Tensor) else repr(x) for x in (first, part)]
        raise DataError(
            f"What is no tensor must be the same for all samples, but {where} is {told[0]:.40} and "
            f"{told[1]:.40}; give a tensor with one value a sample, or always the same."
        )
    return part


def cut(inputs: Inputs, size: int) -> list[Inputs]:
    """Returns a batch in pieces of at most `size` samples."""
    return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def moved(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Returns a batch with each tensor changed."""
    return inputs.map(change) if isinstance(inputs, Structured) else change(inputs)
