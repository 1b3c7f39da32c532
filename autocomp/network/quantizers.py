"""The quantizers that hang on a network's modules: those of a search that came before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.output_quantizer import OutputQuantizer


def quantizer_of(module: nn.Module) -> ActivationQuantizer | None:
    """Returns the quantizer that a module's inputs pass already; None without one."""
    hooks = module._forward_pre_hooks.values()
    return next((hook for hook in hooks if isinstance(hook, ActivationQuantizer)), None)


def take_quantizer(module: nn.Module) -> ActivationQuantizer | None:
    """Takes the quantizer off a module, in place, and returns it; None without one."""
    found = quantizer_of(module)
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, ActivationQuantizer):
            del module._forward_pre_hooks[key]
    return found


def output_quantizer_of(module: nn.Module) -> OutputQuantizer | None:
    """Returns the quantizer that a module's output passes already; None without one."""
    hooks = module._forward_hooks.values()
    return next((hook for hook in hooks if isinstance(hook, OutputQuantizer)), None)


def take_output_quantizer(module: nn.Module) -> OutputQuantizer | None:
    """Takes the quantizer of its output off a module, in place; None without one."""
    found = output_quantizer_of(module)
    for key, hook in list(module._forward_hooks.items()):
        if isinstance(hook, OutputQuantizer):
            del module._forward_hooks[key]
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
