"""What the readers of a group see: their inputs, and what flows back to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.errors import LayerError


class Views:
    """Records the inputs of some modules while the block runs.

    A recorded input is an alias that only its module reads: the gradient with respect to it is what
    flows back through this module alone, not through others that read the same tensor. Summed over
    all readers of a channel it is therefore the derivative of a gate on that channel.

    Args:
        model: the network; hooks are removed when the block ends.
        modules: names of the modules to record.
        differentiable: whether to make the aliases part of the graph.
    """

    def __init__(self, model: nn.Module, modules: Iterable[str], differentiable: bool) -> None:
        self._model, self._differentiable = model, differentiable
        self._calls: dict[str, list[Tensor]] = {name: [] for name in modules}
        self._stack = ExitStack()

    def __enter__(self) -> Views:
        for name in self._calls:
            module = self._model.get_submodule(name)
            hook = module.register_forward_pre_hook(self._hook(name), with_kwargs=True)
            self._stack.callback(hook.remove)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _hook(self, name: str) -> Callable[..., Any]:
        def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (self._see(name, args[0]), *args[1:]), kwargs
            first = next(iter(kwargs))
            return args, {**kwargs, first: self._see(name, kwargs[first])}

        return see

    def _see(self, name: str, tensor: Tensor) -> Tensor:
        alias = tensor
        if self._differentiable:
            alias = tensor.view_as(tensor)
            if not alias.requires_grad:
                alias = tensor.detach().requires_grad_()
        self._calls[name].append(alias)
        return alias

    def taken(self) -> dict[str, list[Tensor]]:
        """Returns the inputs of every module, one a call, and forgets them.

        Raises:
            LayerError: if a module was not called.
        """
        taken = {name: list(calls) for name, calls in self._calls.items()}
        for name, calls in self._calls.items():
            if not calls:
                raise LayerError(
                    f"A criterion of activations needs {name!r} to be called in a forward pass, "
                    "but it was not; leave its group out, or use a criterion of the weights."
                )
            calls.clear()
        return taken


def flowing_back(
    seeds: Tensor, outputs: Tensor, views: dict[str, list[Tensor]]
) -> dict[str, list[Tensor]]:
    """Returns what arrives at each view when `seeds` (like `outputs`) starts at the outputs."""
    flat = [tensor for calls in views.values() for tensor in calls]
    found: tuple[Tensor | None, ...] = (None,) * len(flat)
    if outputs.requires_grad:
        found = torch.autograd.grad(outputs, flat, seeds, allow_unused=True)
    back = iter(torch.zeros_like(t) if g is None else g for t, g in zip(flat, found, strict=True))
    return {name: [next(back) for _ in calls] for name, calls in views.items()}
