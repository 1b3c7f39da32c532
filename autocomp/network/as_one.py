"""A network as a function: structured inputs go in as one, the tensor that counts comes out.

Everything that runs a network calls `model(inputs)` and gets a tensor. Two hooks on the network
itself do the rest; its forward pass, its modules and their names stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.structured import Inputs, Structured
from autocomp.errors import DataError
from autocomp.network.forward import forward
from autocomp.network.padded_encoders import packed_again
from autocomp.tasks import Task

_NOTE = "_autocomp_as_one"


class _Spread:
    """Hands structured inputs to a forward pass as it takes them."""

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if len(args) == 1 and isinstance(args[0], Structured):
            return args[0].arguments(module.forward)
        return None


class _Taken:
    """Takes the tensor that counts out of what a forward pass returned."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        return self.task.outputs(output, _inputs(args, kwargs))


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    if len(args) == 1 and not kwargs:
        only = args[0]
        if isinstance(only, Tensor):
            return only
        if isinstance(only, Mapping):
            return Structured.unchecked((), only)
    return Structured.unchecked(args, kwargs)


def as_one(model: nn.Module, task: Task, few: Inputs) -> nn.Module:
    """Makes a network take structured inputs as one, and return the task's tensor.

    Args:
        model: changed in place, by hooks, where it does not do so by itself; copies have them, too.
        task: says which tensor counts.
        few: a few inputs.

    Returns:
        The network.

    Raises:
        DataError: if the network does not run on them, or returns nothing that counts.
    """
    _without_hooks(model)
    with torch.inference_mode():
        raw = forward(model, few, DataError, "data")
        if isinstance(few, Tensor) and task.outputs(raw, few) is raw:
            return model
    handles = (
        model.register_forward_pre_hook(_Spread(), with_kwargs=True),
        model.register_forward_hook(_Taken(task), with_kwargs=True),
    )
    object.__setattr__(model, _NOTE, tuple(handle.id for handle in handles))
    return model


def plain(model: nn.Module) -> nn.Module:
    """Takes away what `as_one` and `unpacked` put on a network; returns the network."""
    return packed_again(_without_hooks(model))


def _without_hooks(model: nn.Module) -> nn.Module:
    for key in vars(model).pop(_NOTE, ()):
        model._forward_pre_hooks.pop(key, None)
        model._forward_pre_hooks_with_kwargs.pop(key, None)
        model._forward_hooks.pop(key, None)
        model._forward_hooks_with_kwargs.pop(key, None)
    return model
