"""How much memory a network's activations need at most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autocomp.core.structured import Inputs, leaves_of, moved
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode


def peak_activation_bytes(model: nn.Module, example: Inputs) -> int:
    """Returns the largest number of bytes of activations that live at once, for one example.

    A forward pass is recorded as a list of operators. A tensor lives from the operator that makes
    it (the input: from the start) to the last one that reads or writes it (the network's outputs:
    to the end), as in a runtime that frees at once. At an operator, what it reads and what it makes
    live together:

        peak = max over operators t of  sum of bytes of {tensor : made <= t <= last used}

    Views and in-place operators share memory. Parameters, buffers, results that nobody reads and
    working memory within an operator do not count; attention counts as PyTorch's plain path runs
    it. A runtime that fuses operators may need less.

    Args:
        model: run once in evaluation mode; not modified.
        example: a batch that it accepts; the first example is used.

    Raises:
        LayerError: if the forward pass fails.
    """
    inputs = moved(example[:1], Tensor.clone)
    trace = _Trace(model, inputs)
    with evaluation_mode(model), torch.no_grad(), _plain_attention(), trace:
        outputs = forward(model, inputs)
    return trace.peak(outputs)


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes when each piece of memory is made and used; holds it, so that none is reused."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        fixed = (*model.parameters(), *model.buffers())
        self._fixed = {_memory(tensor) for tensor in fixed}
        self._held: dict[int, Any] = {}
        self._made: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._step = 0
        self._use(leaves_of(inputs))
        self._step = 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        shared = {_memory(x) for x in given}
        is_view = bool(made) and all(_memory(x) in shared for x in made)
        if is_view and not func._schema.is_mutable:
            return result  # moves no data
        self._use([*given, *made])
        self._step += 1
        return result

    def _use(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            memory = _memory(tensor)
            if memory not in self._fixed:
                self._held[memory] = tensor.untyped_storage()
                self._made.setdefault(memory, self._step)
                self._used[memory] = self._step

    def peak(self, outputs: Any) -> int:
        """Returns the most bytes that live at one step."""
        self._use([x for x in tree_leaves(outputs) if isinstance(x, Tensor)])
        change = [0] * (self._step + 2)
        for memory, made in self._made.items():
            used = self._used[memory]
            if used > made:  # else nobody reads it
                change[made] += self._held[memory].nbytes()
                change[used + 1] -= self._held[memory].nbytes()
        live = peak = 0
        for step in change:
            live += step
            peak = max(peak, live)
        return peak


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keeps attention from running as one operator that hides what lives inside it."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
