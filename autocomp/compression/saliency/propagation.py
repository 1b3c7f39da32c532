"""Running a network so that its backward pass carries something other than gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from autocomp.compression.saliency.gradients import only_these
from autocomp.errors import LayerError

Back = Callable[[Tensor], tuple[Tensor | None, ...]]
"""From what arrives at an operation's output to what each of its tensor inputs gets."""
Arguments = dict[str, Any]
Rule = Callable[["Propagation", Callable[..., Any], tuple[Any, ...], Arguments], Any]

ELEMENTWISE = (
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "prelu",
    "elu", "elu_", "selu", "selu_", "celu", "celu_", "gelu", "silu", "hardswish", "hardsigmoid",
    "mish", "sigmoid", "sigmoid_", "tanh", "tanh_", "softplus", "softsign", "threshold", "clamp",
    "clamp_", "clamp_min", "clamp_max", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "alpha_dropout", "feature_alpha_dropout",
)  # fmt: skip
"""Operations on single values, behind which everything that arrives goes to their input."""
AVERAGES = (
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "mean", "sum", "interpolate",
)  # fmt: skip
"""Operations whose outputs are averages or sums of their inputs."""
SUMS = (
    "add", "__add__", "__radd__", "__iadd__", "add_", "sub", "__sub__", "__rsub__", "rsub",
    "__isub__", "sub_",
)  # fmt: skip
"""Additions and subtractions of two values."""
PRODUCTS = (
    "mul", "__mul__", "__rmul__", "__imul__", "mul_", "div", "__truediv__", "div_",
    "__itruediv__", "true_divide",
)  # fmt: skip
"""Multiplications and divisions of two values."""
MOVES = frozenset((
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "permute",
    "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint", "__getitem__",
    "__get__", "narrow", "select", "index_select", "unbind", "chunk", "split",
    "split_with_sizes", "tensor_split", "cat", "concat", "concatenate", "stack", "hstack",
    "vstack", "unsqueeze", "squeeze", "expand", "expand_as", "broadcast_to", "repeat", "tile",
    "contiguous", "clone", "pad", "constant_pad_nd", "roll", "flip", "to", "float", "double",
    "type_as", "type", "cuda", "cpu", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle",
    "requires_grad_", "max_pool1d", "max_pool2d", "max_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
))  # fmt: skip
"""Operations that copy values to other places: autograd sends back along the same ways."""


class Propagation(TorchFunctionMode):
    """Gives every operation of a forward pass its true value and a backward rule of our own.

    Works on calls of functions and modules alike, since it sees each torch function of the pass.

    Args:
        what: what is propagated, in the words of an error message.
        rules: name of a torch function -> its rule; `MOVES` need none.

    Raises:
        LayerError: in the pass, at an operation without a rule.
    """

    def __init__(self, what: str, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self._what, self._rules = what, rules
        self.made: dict[int, tuple[Tensor, Any]] = {}  # outputs that a later rule may look up

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Arguments | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        rule = self._rules.get(name)
        if rule is not None and any(t.requires_grad for t in tensors((args, kwargs))):
            return rule(self, func, args, kwargs)
        found = func(*args, **kwargs)
        if name not in MOVES and any(t.requires_grad for t in tensors(found)):
            raise LayerError(
                f"{self._what} has no rule for the operation {name!r}; use another criterion, such "
                "as taylor, for this network."
            )
        return found


def tensors(values: Any) -> Iterator[Tensor]:
    """Yields the tensors in nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors(value)


class _Carrier(torch.autograd.Function):
    """An operation whose value is known and whose backward pass is a given function."""

    @staticmethod
    def forward(ctx: Any, back: Back, value: Tensor, *inputs: Tensor) -> Tensor:
        ctx.back = back
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return (None, None, *ctx.back(arriving[0]))


def carry(value: Tensor, back: Back, *inputs: Tensor) -> Tensor:
    """Returns `value` with a backward pass that gives each of `inputs` what `back` says."""
    found: Tensor = _Carrier.apply(back, value.detach(), *inputs)  # type: ignore[no-untyped-call]
    return found


def pass_on(
    mode: Propagation, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
) -> Any:
    """The rule of operations on single values: the input gets what arrives."""
    x = args[0] if args else kwargs["input"]
    copy = x.detach().clone()  # func may work in place
    with torch.no_grad():
        value = func(copy, *args[1:], **kwargs) if args else func(**{**kwargs, "input": copy})
    return carry(value, lambda arriving: (arriving,), x)


def bind(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Arguments) -> tuple[list[Any], Any]:
    """Splits a call into the arguments called `names` (None if absent) and the rest.

    Returns:
        Their values, and a pair (other positional arguments, other keyword arguments).
    """
    rest = dict(kwargs)
    values = list(args[: len(names)])
    values += [rest.pop(name, None) for name in names[len(values) :]]
    return values, (args[len(names) :], rest)


def evaluate_pair(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
) -> tuple[Any, Any, Tensor]:
    """Returns the two operands of a sum or product, and its value; neither is changed."""
    (first, second), (_, others) = bind(("input", "other"), args, kwargs)
    copies = [t.detach().clone() if isinstance(t, Tensor) else t for t in (first, second)]
    with torch.no_grad():
        value: Tensor = func(*copies, **others)
    return first, second, value


def pull_back(function: Callable[..., Tensor], x: Tensor, arriving: Tensor) -> Tensor:
    """Returns `J^T arriving` for the Jacobian J of `function` at `x`."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        return torch.autograd.grad(function(point), point, arriving)[0]


@contextmanager
def constant_parameters(model: nn.Module) -> Iterator[None]:
    """Makes no parameter require gradients while the block runs."""
    with only_these(model, ()):
        yield
