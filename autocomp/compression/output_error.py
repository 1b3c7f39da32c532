"""How far a layer's outputs move, relative to their energy."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from autocomp.compression.recovery.gram import Gram


class OutputError:
    """Mean squared errors of a layer's outputs, relative to the dense layer's energy.

    From the moments of its inputs, tr(D M D^T) / tr(W M W^T); where they are not known, the squared
    error of the weight, relative to its squared norm. Outputs that are constant but for rounding
    noise have no error.

    Args:
        dense: W, the dense weight.
        gram: the moments, or None.
    """

    def __init__(self, dense: Tensor, gram: Gram | None) -> None:
        self._dense, self._gram = dense, gram
        self._energy = _energy(dense, gram)

    def of(self, weight: Tensor) -> float:
        """Returns the error of a weight of the same shape."""
        if not self._energy:
            return 0.0
        difference = weight - self._dense
        gram = self._gram
        error = float(difference.square().sum()) if gram is None else gram.error(difference)
        return error / self._energy


def _energy(dense: Tensor, gram: Gram | None) -> float:
    if gram is None:
        return float(dense.square().sum()) or 1.0
    energy = gram.error(dense)
    # constant inputs: what is left around their mean is rounding noise, and no error
    whole = replace(gram, centred=False, _memo={}).error(dense) if gram.centred else energy
    return energy if energy > 1e-10 * whole else 0.0
