"""Which layer of a separable chain works along which kernel axes."""

from __future__ import annotations


def kernel_axes(kernel: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Returns the axes of each layer: one a layer, those of kernel size 1 with the first.

    An axis of kernel size 1 may still have a stride or padding, which some layer must do.

    Args:
        kernel: kernel sizes, at least one of them above 1.
    """
    wide = [axis for axis, k in enumerate(kernel) if k > 1]
    narrow = [axis for axis, k in enumerate(kernel) if k == 1]
    return [tuple(sorted([wide[0], *narrow])), *((axis,) for axis in wide[1:])]
