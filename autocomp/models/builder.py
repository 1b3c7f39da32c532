"""How to build an architecture again: its name or import path, and its options."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from autocomp.errors import AutocompError, ModelError
from autocomp.plugins.imports import call_user, import_attribute

_ATTRIBUTE = "autocomp_source"


@dataclass(frozen=True)
class ModelSource:
    """What builds an architecture: a registered name or `package.module:attribute`, with options.

    Attributes:
        name: the name or import path.
        options: keyword arguments of the factory; anything that JSON can hold.

    Raises:
        ModelError: if the name is empty or an option cannot be written as JSON.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ModelError(f"A model source needs a name, but got {self.name!r}. Name a model.")
        if not isinstance(self.options, dict) or not all(isinstance(k, str) for k in self.options):
            raise ModelError(
                f"The options of {self.name!r} must be a dict with string keys, but got "
                f"{self.options!r}. Give keyword arguments."
            )
        try:
            json.dumps(self.options)
        except (TypeError, ValueError) as problem:
            raise ModelError(
                f"The options of {self.name!r} must be writable as JSON, but got {self.options!r}. "
                "Use numbers, strings, lists and dicts."
            ) from problem

    def to_json(self) -> dict[str, Any]:
        """Returns `{"name": ..., "options": {...}}`."""
        return {"name": self.name, "options": dict(self.options)}

    @classmethod
    def from_json(cls, data: object) -> ModelSource:
        """Returns what `to_json` gave.

        Raises:
            ModelError: if `data` is anything else.
        """
        if not isinstance(data, Mapping) or set(data) != {"name", "options"}:
            raise ModelError(
                f"A model source must hold 'name' and 'options', but got {data!r}. "
                "Write it with `ModelSource.to_json`."
            )
        return cls(data["name"], data["options"])


def noted_source(model: nn.Module) -> ModelSource | None:
    """Returns what `build_model` or `note_source` noted on `model`; None if nothing."""
    noted = getattr(model, _ATTRIBUTE, None)
    return noted if isinstance(noted, ModelSource) else None


def source_of(model: nn.Module) -> ModelSource | None:
    """Returns how to build `model` again, or None where that is not known.

    That is what `build_model` noted; else the class, if it stands at the top of a module, needs
    no arguments, and gives weights of the same names and shapes (it is called once to see).
    """
    noted = noted_source(model)
    if noted is not None:
        return noted
    kind = type(model)
    if "<locals>" in kind.__qualname__ or _needs_arguments(kind):
        return None
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if found is not kind:  # made by hand, or its module is gone: the name would not find it
        return None
    try:
        with isolated_seed():
            again = kind()
    except Exception:  # the user's own constructor
        return None
    shapes, wanted = (
        {name: getattr(value, "shape", None) for name, value in net.state_dict().items()}
        for net in (again, model)
    )
    return ModelSource(f"{kind.__module__}:{kind.__qualname__}") if shapes == wanted else None


def note_source(model: nn.Module, name: str, options: dict[str, Any]) -> None:
    """Notes on `model` how it was built; nothing where the options cannot be written as JSON."""
    try:
        source = ModelSource(name, options)
    except ModelError:
        return
    object.__setattr__(model, _ATTRIBUTE, source)


@contextlib.contextmanager
def isolated_seed() -> Iterator[None]:
    """Seeds torch's CPU random state with 0 while the block runs, then gives the old one back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


class TooLarge(ModelError):
    """An architecture has more parameters than was allowed."""


@contextlib.contextmanager
def parameters_up_to(most: int) -> Iterator[None]:
    """Raises TooLarge as soon as modules that are made in the block have more parameters."""
    thread, found = threading.get_ident(), 0

    def count(module: nn.Module, name: str, parameter: object) -> None:
        nonlocal found
        if threading.get_ident() == thread:
            found += 1
            if found > most:
                raise TooLarge(str(found))

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def call_factory(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> nn.Module:
    """Returns `factory(**options)`, built under a seed of its own (CPU only).

    Args:
        name: what the factory is called in messages.
        factory: a class or function that returns a network.
        options: its keyword arguments.

    Raises:
        ModelError: if it does not take the options, raises, or returns no `nn.Module`.
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ModelError(
            f"`{name}` must be a function or class that builds the network, but is a "
            f"{type(factory).__name__}. Wrap it in a function."
        )
    check_options(name, factory, options)
    with isolated_seed():
        model = call_user(name, factory, options, ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"`{name}` must return an nn.Module, but returned a {type(model).__name__}. "
            "Return the network itself."
        )
    return model


def user_factory(spec: str) -> Callable[..., Any]:
    """Imports the factory that `spec` names, `package.module:attribute`.

    Raises:
        ModelError: if it does not import.
    """
    factory: Callable[..., Any] = import_attribute(spec, ModelError)
    return factory


def import_path(factory: Callable[..., Any]) -> str | None:
    """Returns `package.module:attribute` of a function or class, or None if it has none."""
    module = getattr(factory, "__module__", None)
    qualname = getattr(factory, "__qualname__", "<none>")
    if not module or "<" in qualname:
        return None
    spec = f"{module}:{qualname}"
    try:
        return spec if import_attribute(spec, ModelError) is factory else None
    except AutocompError:
        return None


def check_options(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    """Checks that `factory` takes `options`, without calling it.

    Raises:
        ModelError: if it does not.
    """
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**options)
    except TypeError as problem:
        raise ModelError(
            f"Model {name!r}: {problem}; it takes {signature}. Change the options."
        ) from problem


def _needs_arguments(kind: type[nn.Module]) -> bool:
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return True
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is inspect.Parameter.empty and p.kind not in free for p in parameters)
