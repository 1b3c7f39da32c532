"""Modules that are a matrix product in disguise, one a file.

To add one, write a function `module -> MatrixUse | None` and register it in `LAYERS`, or under the
entry-point group `autocomp.layers` of another package:

    def of_my_linear(module):
        if isinstance(module, MyLinear):
            return MatrixUse("kernel", bias="offset", outputs_first=False)
        return None
"""

from __future__ import annotations

from functools import cache

from torch import nn

from autocomp.errors import LayerError
from autocomp.network.layers.matrix_use import LayerFinder, MatrixUse
from autocomp.network.layers.transformers_conv1d import transformers_conv1d
from autocomp.plugins.imports import call_user
from autocomp.plugins.registry import find, names

LAYERS: dict[str, LayerFinder] = {"transformers-conv1d": transformers_conv1d}
GROUP = "autocomp.layers"

__all__ = ["GROUP", "LAYERS", "LayerFinder", "MatrixUse", "matrix_use"]


def matrix_use(module: nn.Module) -> MatrixUse | None:
    """Returns how a module multiplies its input by a weight; None if no registered layer knows it.

    Raises:
        LayerError: if a layer of a plug-in raises something, or returns something else.
    """
    for name in (*LAYERS, *_plugged()):
        finder = find("layer", name, LAYERS, GROUP)
        found = call_user(name, lambda finder=finder: finder(module), {}, LayerError)
        if isinstance(found, MatrixUse):
            return found
        if found is not None:
            raise LayerError(
                f"A layer must be a function module -> MatrixUse or None, but {name!r} returned "
                f"{found!r:.60}; return one of these."
            )
    return None


@cache
def _plugged() -> tuple[str, ...]:
    return tuple(name for name in names(LAYERS, GROUP) if name not in LAYERS)
