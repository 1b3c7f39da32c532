"""What one value is worth, before the values of a unit are put together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Pointwise = Callable[[Tensor, Tensor], Tensor]


def identity(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `x`."""
    return x


def absolute(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `|x|`."""
    return x.abs()


def square(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `x^2`."""
    return x.square()


def nonzero(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns 1 where `x` is not zero; its mean is 1 - APoZ (Hu et al. 2016, arXiv:1607.03250)."""
    return (x != 0).to(x.dtype)


def gate(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `-x dL/dx`: to first order, how much the loss rises when `x` becomes zero."""
    return -x * gradient


def taylor(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `|x dL/dx|`."""
    return (x * gradient).abs()


def taylor2(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `(x dL/dx)^2` (Molchanov et al. 2019, arXiv:1906.10771)."""
    return (x * gradient).square()


def obd(x: Tensor, gradient: Tensor) -> Tensor:
    """Returns `h x^2 / 2` with `h` the squared gradient (LeCun et al. 1989, diagonal Fisher).

    For weights `gradient` is the root of the mean squared gradient of single examples, so that
    `h = E[(dL/dw)^2]`.
    """
    return (x * gradient).square() / 2


POINTWISE: dict[str, Pointwise] = {
    "identity": identity,
    "abs": absolute,
    "square": square,
    "nonzero": nonzero,
    "gate": gate,
    "taylor": taylor,
    "taylor2": taylor2,
    "obd": obd,
}
WITH_GRADIENT = ("gate", "taylor", "taylor2", "obd")
