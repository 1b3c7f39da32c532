"""Running a network from one of its layers on: what comes before is answered from a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.core.structured import Inputs

LIMIT = 1 << 29
"""Bytes of activations that a cache may hold; where more would be needed, modules run again."""


class Reached(Exception):
    """Ends a forward pass early."""


class PrefixCache:
    """Remembers the outputs of the modules that end before a given one starts.

    Only the outermost such modules are kept (a whole stage, not its convolutions), so memory is a
    few activations. A module counts if one forward pass calls it once and it returns one tensor;
    others, those that write into their input, and code between modules, run again.

    Args:
        model: the network.
        images: the one batch that it is run on.
        limit: bytes that may be held.
    """

    def __init__(self, model: nn.Module, images: Inputs, limit: int = LIMIT) -> None:
        self._model = model
        self._images = images
        self._limit = limit
        self._bytes: dict[str, int] = {}
        self._modules = dict(model.named_modules())
        self._start: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._once: dict[str, bool] = {}
        self._cached: dict[str, Tensor] = {}
        self._trace()

    @contextmanager
    def before(self, name: str) -> Iterator[None]:
        """Answers every module that ends before module `name` starts from the cache.

        The network must be the one that was cached up to there. Call in forward order: what was
        cached for an earlier layer speeds up caching for the next.
        """
        self.fill(name)
        with ExitStack() as stack:
            for module in self._cached:
                stack.enter_context(self._patched(module))
            yield

    def fill(self, name: str) -> None:
        """Runs what ends before module `name` starts and is not cached yet; see `before`."""
        frontier = self._frontier(name)
        if sum(self._bytes[module] for module in frontier) > self._limit:
            frontier = []
        missing = [module for module in frontier if module not in self._cached]
        if missing:
            with ExitStack() as stack:
                for module in self._cached:
                    if not any(module in _parents(inner) for inner in missing):
                        stack.enter_context(self._patched(module))
                for module in missing:
                    hook = self._modules[module].register_forward_hook(self._keep(module))
                    stack.callback(hook.remove)
                run_until(self._model, name, self._images)
        self._cached = {module: self._cached[module] for module in frontier}

    def _frontier(self, name: str) -> list[str]:
        start = self._start.get(name)
        if start is None:
            return []
        done = {m for m, end in self._end.items() if m and end < start and self._once[m]}
        return sorted(m for m in done if not any(parent in done for parent in _parents(m)))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._cached[name] = output.detach().clone()  # a later step may write into it

        return hook

    @contextmanager
    def _patched(self, name: str) -> Iterator[None]:
        module, cached = self._modules[name], self._cached[name]

        def answer(*inputs: Any, **kwargs: Any) -> Tensor:
            return cached.clone()

        own = vars(module).get("forward")  # set on this very module, not by its class
        module.forward = answer
        try:
            yield
        finally:
            if own is None:
                del module.forward
            else:
                module.forward = own

    def _trace(self) -> None:
        clock = 0
        few = self._images[:2]
        versions: dict[str, list[int]] = {}

        def begin(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any) -> None:
                nonlocal clock
                clock += 1
                self._once[name] = name not in self._start
                self._start.setdefault(name, clock)
                versions[name] = _versions(inputs)

            return hook

        def finish(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                nonlocal clock
                clock += 1
                self._end[name] = clock
                self._once[name] &= isinstance(output, Tensor)
                self._once[name] &= versions[name] == _versions(inputs)
                if isinstance(output, Tensor):
                    one = output.element_size() * output.numel() / max(1, len(few))
                    self._bytes[name] = round(one * len(self._images))

            return hook

        with ExitStack() as stack:
            for name, module in self._modules.items():
                stack.callback(module.register_forward_pre_hook(begin(name)).remove)
                stack.callback(module.register_forward_hook(finish(name)).remove)
            with torch.no_grad():
                self._model(few)


@torch.no_grad()
def run_until(model: nn.Module, name: str, images: Inputs) -> None:
    """Runs a network up to where module `name` is first called, or to its end."""

    def stop(module: nn.Module, inputs: Any) -> None:
        raise Reached

    hook = model.get_submodule(name).register_forward_pre_hook(stop)
    try:
        with suppress(Reached):
            model(images)
    finally:
        hook.remove()


def _versions(inputs: Any) -> list[int]:
    """Returns how often each input tensor has been written to."""
    return [x._version for x in inputs if isinstance(x, Tensor)]


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
