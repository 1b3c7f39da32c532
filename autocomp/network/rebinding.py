"""Functions that a copied network holds: made to speak of the copy, not of the original.

`copy.deepcopy` takes a function as it is. A forward pass that a wrapper has replaced
(`net.block.forward = lambda x: inner(x)`) would go on calling the original's modules.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from autocomp.errors import ModelError


def copy_network(model: nn.Module) -> nn.Module:
    """Returns a copy of a network; the functions that its modules hold speak of the copy.

    Raises:
        ModelError: if it cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # __deepcopy__ may be the user's own
        raise ModelError(
            f"The network must be one that can be copied, but copy.deepcopy raised "
            f"{type(error).__name__}; use torch.nn.utils.parametrizations instead of the old "
            "weight_norm, and detach stored tensors."
        ) from error
    Rebinding(memo).apply(copied)
    if not any(module.training for module in model.modules()):
        copied.eval()  # a copy that is built anew begins in the other mode
    return copied


_DEEPEST = 20
"""Levels of containers and closures that are looked through."""


class Rebinding:
    """Puts copies in place of originals in closures, defaults, partials and weak references.

    Args:
        memo: what `copy.deepcopy` noted: id of an original -> its copy.
    """

    def __init__(self, memo: Mapping[int, Any]) -> None:
        self._memo = dict(memo)
        self._copies = {id(made) for made in memo.values()}
        self._cells: dict[int, CellType] = {}
        self._functions: dict[int, FunctionType] = {}
        self._seen: set[int] = set()

    def apply(self, copied: nn.Module) -> None:
        """Rebinds everything that the modules of a copy hold."""
        for module in copied.modules():
            self._inside(vars(module), 0)

    def _inside(self, held: Any, depth: int) -> None:
        """Rebinds in place what a container, or an object that was copied, holds."""
        if id(held) in self._seen or depth > _DEEPEST:
            return
        self._seen.add(id(held))
        if isinstance(held, dict):
            for key, value in list(held.items()):
                held[key] = self._place(value, depth)
        elif isinstance(held, list):
            held[:] = [self._place(value, depth) for value in held]

    def _place(self, value: Any, depth: int) -> Any:
        """Returns what stands in a value's place in the copy."""
        if isinstance(value, (Tensor, nn.Module, type)):
            return value  # modules are looked into one by one
        if isinstance(value, (dict, list)):
            self._inside(value, depth + 1)
        elif (
            id(value) in self._copies
            and hasattr(value, "__dict__")
            and not isinstance(value, (functools.partial, MethodType))
        ):
            self._inside(vars(value), depth + 1)
        elif self._leaves(value, depth, set()):
            return self._rebound(value)
        return value

    def _leaves(self, value: Any, depth: int, seen: set[int]) -> bool:
        """Whether a function, or what one holds, reaches an original."""
        if depth > _DEEPEST or id(value) in seen:
            return False
        seen.add(id(value))
        if id(value) in self._memo:
            return True
        return any(self._leaves(part, depth + 1, seen) for part in _parts(value))

    def _rebound(self, value: Any) -> Any:
        if id(value) in self._memo:
            return self._memo[id(value)]
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return MethodType(self._rebound(value.__func__), self._rebound(value.__self__))
        if isinstance(value, functools.partial):
            keywords = {name: self._rebound(part) for name, part in value.keywords.items()}
            return functools.partial(
                self._rebound(value.func), *map(self._rebound, value.args), **keywords
            )
        if isinstance(value, weakref.ref):
            target = value()
            return value if target is None else weakref.ref(self._rebound(target))
        if not self._leaves(value, 0, set()):
            return value
        if type(value) in (list, tuple, set):
            return type(value)(self._rebound(part) for part in value)
        if type(value) is dict:
            return {key: self._rebound(part) for key, part in value.items()}
        return copy.deepcopy(value, self._memo)

    def _function(self, function: FunctionType) -> FunctionType:
        if id(function) in self._functions:
            return self._functions[id(function)]
        if not self._leaves(function, 0, set()):
            return function
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        values = function.__globals__
        moved = {n: v for n, v in _globals(function).items() if self._leaves(v, 0, set())}
        if moved:  # a wrapper that was written at the top of a script; its own view of that
            values = dict(values)
        made = FunctionType(function.__code__, values, function.__name__, None, tuple(cells))
        self._functions[id(function)] = made  # before its cells are filled: it may hold itself
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            if not _is_empty(old):
                cell.cell_contents = self._rebound(old.cell_contents)
        values.update({name: self._rebound(value) for name, value in moved.items()})
        made.__defaults__ = self._rebound(function.__defaults__)
        made.__kwdefaults__ = self._rebound(function.__kwdefaults__)
        made.__dict__.update({k: self._rebound(v) for k, v in vars(function).items()})
        made.__doc__, made.__qualname__ = function.__doc__, function.__qualname__
        made.__module__ = function.__module__
        return made

    def _cell(self, cell: CellType) -> CellType:
        return self._cells.setdefault(id(cell), CellType())


def _parts(value: Any) -> list[Any]:
    """Returns what a function, a method, a partial, a weak reference or a container holds."""
    if isinstance(value, FunctionType):
        cells = [c.cell_contents for c in value.__closure__ or () if not _is_empty(c)]
        keywords = (value.__kwdefaults__ or {}).values()
        own = (*(value.__defaults__ or ()), *keywords, *vars(value).values())
        return [*cells, *own, *_globals(value).values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, (list, tuple, set)):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (nn.Module, Tensor, type, ModuleType)) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())


def _globals(function: FunctionType) -> dict[str, Any]:
    """Returns what a function reads of its module and might hold a network: one, or functions."""
    names = [*function.__code__.co_names]
    for part in function.__code__.co_consts:
        names += getattr(part, "co_names", ())
    found = {n: function.__globals__[n] for n in names if n in function.__globals__}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, (nn.Module, Tensor, MethodType, functools.partial))
        or (isinstance(value, FunctionType) and value.__globals__ is function.__globals__)
    }


def _is_empty(cell: CellType) -> bool:
    try:
        return cell.cell_contents is cell  # never; an empty one raises
    except ValueError:
        return True
