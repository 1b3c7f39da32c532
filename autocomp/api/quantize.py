"""One width for all layers: the plain job that most people start with, through the same search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from autocomp.api.result import Result
from autocomp.api.search import search
from autocomp.core.choice import BITS, WEIGHT_BITS
from autocomp.errors import ChoiceError


def quantize(
    model: str | nn.Module | Callable[..., nn.Module],
    data: Any = "none",
    *,
    weights: int = 8,
    activations: int = 8,
    outputs: int = 8,
    checkpoint: str | Path = "",
    **settings: Any,
) -> Result:
    """Quantizes every layer of `model` to the same widths and writes a run folder.

    The search of a space with one plan: weights are rounded with the layer's input moments (GPTQ),
    input ranges are calibrated, biases and norms corrected, and the network is judged, saved and
    reported like any other.

    Args:
        model: as `search` takes it.
        data: as `search` takes it; "none" makes inputs out of the network's batch norms.
        weights: bits of a weight; 1 for its sign, 2 for -1, 0 and 1 times a scale.
        activations: bits of a layer's inputs; 32 leaves them alone, and outputs, too.
        outputs: bits of outputs that no next layer rounds, and of the sums that they go into.
        checkpoint: weights file for a network that is named.
        **settings: further arguments of `search`, as `keep=("conv1",)` for layers to leave alone.

    Raises:
        AutocompError: as `search` does.

    >>> from autocomp import quantize
    >>> result = quantize("digits", "digits", weights=8, activations=8)  # doctest: +SKIP
    """
    for name, bits, known in (
        ("weights", weights, WEIGHT_BITS), ("activations", activations, BITS),
        ("outputs", outputs, BITS),
    ):  # fmt: skip
        if type(bits) is not int or bits not in known:
            raise ChoiceError(f"`{name}` must be one of {known} bits, but got {bits!r}.")
    fixed: dict[str, Any] = {"budget": "size=100%", "evaluations": 1, "agent": "dp"}
    for name in (*fixed, "space"):
        if name in settings:
            raise ChoiceError(
                f"`{name}` is fixed where every layer has the same width, but got "
                f"{settings[name]!r}; leave it out, or call search."
            )
    space = f"bits:weight_bits={weights},activation_bits={activations},output_bits={outputs}"
    return search(model, data, space=space, weights=checkpoint, **fixed, **settings)
