"""Looking at the operations that a forward pass is made of, and counting their products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class OperationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that runs while it is entered; subclasses say what they note of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation waits seconds for the compiler's import

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operation and notes it, or what it is made of."""
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and hasattr(func, "decompose"):
            with self:  # there, operations that are made of others arrive whole
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        self.note(func, args, kwargs, output)
        return output

    def note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Is called with each operation, its arguments and its output."""
        raise NotImplementedError


class ProductCounter(OperationMode):  # type: ignore[no-untyped-call]
    """Counts the multiply-accumulates of matrix products, convolutions, attention, recurrences.

    The formulas are those of `torch.utils.flop_counter`, two operations a multiply-accumulate, and
    own ones for what that leaves out: fused recurrent layers, attention on a CPU, products with
    vectors. Element-wise products are none of them, as in the literature.

    Attributes:
        macs: the multiply-accumulates so far.
        uncounted: names of operations that multiply in ways of their own ("aten._fft_r2c",
            "torchvision.deform_conv2d"), in the order in which they were first seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.uncounted: dict[str, None] = {}

    def note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Adds the operation's products."""
        packet = getattr(func, "overloadpacket", func)
        name = str(packet)
        if packet in flop_registry:
            self.macs += int(flop_registry[packet](*args, **kwargs, out_val=output)) // 2
        elif name in _FORMULAS:
            self.macs += _FORMULAS[name](*args)
        elif not name.startswith(_KNOWN) or name.startswith(_OTHER_PRODUCTS):
            self.uncounted[name] = None


@contextmanager
def counted_products() -> Iterator[ProductCounter]:
    """Counts what runs inside; attention is then computed by the operations that it is made of."""
    fast: bool = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ProductCounter() as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _recurrent(inputs: Tensor, *weights: Any) -> int:
    """One layer in one direction, `(steps, n, inputs)`: two matrices at every step."""
    return int(prod(inputs.shape[:2]) * sum(w.numel() for w in weights[:2]))


def _cudnn_recurrent(inputs: Tensor, weights: list[Tensor], *rest: Any) -> int:
    """All layers and directions; a packed sequence is one row a step and example."""
    rows = prod(inputs.shape[:-1])
    return rows * sum(w.numel() for w in weights if w.dim() == 2)


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> int:
    """Queries times keys, and weights times values."""
    return (
        query.numel() * key.shape[-2] + query.shape[:-1].numel() * key.shape[-2] * value.shape[-1]
    )


def _matrix_vector(matrix: Tensor, *rest: Any) -> int:
    return matrix.numel()


def _added_matrix_vector(added: Tensor, matrix: Tensor, *rest: Any) -> int:
    return matrix.numel()


def _batches(added: Tensor, first: Tensor, second: Tensor, *rest: Any) -> int:
    return first.numel() * second.shape[-1]


_FORMULAS: dict[str, Callable[..., int]] = {
    "aten.mkldnn_rnn_layer": _recurrent,
    "aten._cudnn_rnn": _cudnn_recurrent,
    "aten.miopen_rnn": _cudnn_recurrent,
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_fused_attention_overrideable": _attention,
    "aten.mv": _matrix_vector,
    "aten.dot": _matrix_vector,
    "aten.vdot": _matrix_vector,
    "aten.addmv": _added_matrix_vector,
    "aten.addbmm": _batches,
    "aten._addmm_activation": _batches,
}
_KNOWN = ("aten.", "prim.", "prims.", "profiler.", "autocomp.")
_OTHER_PRODUCTS = (
    "aten._fft",
    "aten._cdist",
    "aten._trilinear",
    "aten._sparse",
    "aten._weight_int",
)
