"""The `Conv1D` of transformers: a linear layer whose weight lies the other way, as in GPT-2."""

from __future__ import annotations

from torch import nn

from autocomp.network.layers.matrix_use import MatrixUse

_WHERE = ("transformers.pytorch_utils", "transformers.modeling_utils")


def transformers_conv1d(module: nn.Module) -> MatrixUse | None:
    """A linear layer with a weight (inputs, outputs), as GPT-2 of transformers has."""
    kinds = [(base.__name__, base.__module__) for base in type(module).__mro__]
    if any(name == "Conv1D" and where in _WHERE for name, where in kinds):
        return MatrixUse(outputs_first=False)
    return None
