"""The quantizers that hang on a network's modules: those of a search that came before."""

from __future__ import annotations

from torch import nn

from autocomp.core.activation_quantizer import ActivationQuantizer


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


def strip_quantizers(network: nn.Module) -> None:
    """Takes every quantizer off a network, in place."""
    for module in network.modules():
        take_quantizer(module)
