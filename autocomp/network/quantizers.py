"""The quantizers that hang on a network's modules: those of a search that came before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import OutputQuantizer

_Hook = TypeVar("_Hook")


def quantizer_of(module: nn.Module) -> ActivationQuantizer | None:
    """Returns the quantizer that a module's inputs pass already; None without one."""
    return _first(module._forward_pre_hooks, ActivationQuantizer)


def take_quantizer(module: nn.Module) -> ActivationQuantizer | None:
    """Takes the quantizer off a module, in place, and returns it; None without one."""
    return _taken(module._forward_pre_hooks, ActivationQuantizer)


def output_quantizer_of(module: nn.Module) -> OutputQuantizer | None:
    """Returns the quantizer that a module's output passes already; None without one."""
    return _first(module._forward_hooks, OutputQuantizer)


def take_output_quantizer(module: nn.Module) -> OutputQuantizer | None:
    """Takes the quantizer of its output off a module, in place; None without one."""
    return _taken(module._forward_hooks, OutputQuantizer)


def _first(hooks: Mapping[int, Any], kind: type[_Hook]) -> _Hook | None:
    return next((hook for hook in hooks.values() if isinstance(hook, kind)), None)


def _taken(hooks: MutableMapping[int, Any], kind: type[_Hook]) -> _Hook | None:
    found = _first(hooks, kind)
    for key, hook in list(hooks.items()):
        if isinstance(hook, kind):
            del hooks[key]
    return found


def strip_quantizers(network: nn.Module) -> None:
    """Takes every quantizer off a network, in place."""
    for module in network.modules():
        take_quantizer(module)
        take_output_quantizer(module)


@contextmanager
def without_quantizers(network: nn.Module) -> Iterator[None]:
    """Takes every quantizer off a network for as long as it is entered."""
    before = [
        (module, dict(module._forward_pre_hooks), dict(module._forward_hooks))
        for module in network.modules()
        if quantizer_of(module) is not None or output_quantizer_of(module) is not None
    ]
    strip_quantizers(network)
    try:
        yield
    finally:
        for module, first, last in before:
            for held, kept in ((module._forward_pre_hooks, first), (module._forward_hooks, last)):
                held.clear()
                held.update(kept)
