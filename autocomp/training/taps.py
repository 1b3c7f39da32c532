"""Looking into a network while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from autocomp.training.losses import Tap


@contextmanager
def tapped(network: nn.Module, taps: Sequence[Tap]) -> Iterator[dict[Tap, Tensor]]:
    """Yields a dictionary that holds what the network had at each tap when it last ran.

    A tap at a module that it lacks, or that takes or gives no tensor, stays empty.
    """
    found: dict[Tap, Tensor] = {}
    modules = dict(network.named_modules())

    def keep(tap: Tap, value: Any) -> None:
        first = value[0] if isinstance(value, (tuple, list)) and value else value
        if isinstance(first, Tensor):
            found[tap] = first

    def before(tap: Tap) -> Any:
        return lambda module, inputs: keep(tap, inputs)

    def after(tap: Tap) -> Any:
        return lambda module, inputs, output: keep(tap, output)

    handles = []
    for tap in taps:
        module = modules.get(tap.module)
        if module is None:
            continue
        if tap.side == "in":
            handles.append(module.register_forward_pre_hook(before(tap)))
        else:
            handles.append(module.register_forward_hook(after(tap)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
