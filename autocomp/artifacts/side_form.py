"""How a file holds biases, normalisation parameters and statistics: narrower where that is exact.

Where a plan quantizes, a batch norm takes one byte a number (`fused_norm.py`) and any other side
tensor 16 bits. Some do not fit: a variance of 1e7 is no float16 number, and a mean of 3,000 with a
deviation of 0.1 would be moved by five of them. Those are held in full.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autocomp.artifacts.fused_norm import PARTS, FusedNorm
from autocomp.artifacts.tensors import to_half

_ROUNDING = 2.0**-10
"""Error of a 16-bit number, relative to what it counts against: twice that of rounding."""
_MOVED = 2.0**-8
"""Largest error of a mean, relative to its channel's deviation."""
_SHIFTED = 2.0**-6
"""Largest error of a bias, relative to what inputs of size 1 move the layer's outputs by."""
_FUSED = 0.025
"""Largest error of a fused batch norm's outputs, relative to their size; ResNet-20's is 0.01."""


@dataclass(frozen=True)
class SideForm:
    """Which side tensors a file holds fused, and which in full, if its plan quantizes.

    Attributes:
        norms: batch norm that is fused -> its eps.
        wide: state-dict names of the tensors in full; all others take 16 bits.
    """

    norms: Mapping[str, float] = field(default_factory=dict)
    wide: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, side: Mapping[str, Tensor], norms: Iterable[str], eps: Mapping[str, float],
        gains: Mapping[str, float] | None = None,
    ) -> SideForm:  # fmt: skip
        """Returns the form in which a network's side tensors stay what they are.

        Args:
            side: state-dict name -> tensor.
            norms: the batch norms that may be fused.
            eps: eps of each normalisation with running statistics, by module.
            gains: bias -> size of the weights beside it, root mean square over the outputs: what
                inputs of size 1 move an output by.
        """
        fused = {
            name: eps[name]
            for name in norms
            if _fuses([side[f"{name}.{part}"] for part in PARTS], eps[name])
        }
        parts = {f"{name}.{part}" for name in fused for part in PARTS}
        rest = {name: tensor for name, tensor in side.items() if name not in parts}
        wide = frozenset(
            name for name in rest if not _fits(name, side, eps, (gains or {}).get(name, math.inf))
        )
        return cls(fused, wide)


def eps_of(model: nn.Module) -> dict[str, float]:
    """Returns the eps of each module with running statistics."""
    return {
        name: float(getattr(module, "eps", 0.0))
        for name, module in model.named_modules()
        if isinstance(getattr(module, "running_var", None), Tensor)
    }


def _fits(name: str, side: Mapping[str, Tensor], eps: Mapping[str, float], gain: float) -> bool:
    """Whether 16 bits hold a tensor within rounding of what it counts against."""
    tensor = side[name].detach()
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    exact, module = tensor.double(), name.rpartition(".")[0]
    error = (to_half(tensor).double() - exact).abs()
    variance = side.get(f"{module}.running_var")
    if name.endswith(".running_var"):
        return bool((error <= _ROUNDING * (exact.abs() + eps.get(module, 0.0))).all())
    if name.endswith(".running_mean") and variance is not None:
        deviation = (variance.double().clamp(min=0) + eps.get(module, 0.0)).sqrt()
        return bool((error <= _MOVED * deviation).all())
    # a norm behind a bias takes its mean away: what is left is as large as the weights make it
    return bool((error <= min(_ROUNDING * float(exact.abs().max()), _SHIFTED * gain)).all())


def _fuses(parts: list[Tensor], eps: float) -> bool:
    """Whether a byte a number holds a batch norm's gain and shift."""
    weight, bias, mean, var = (part.detach().double().cpu() for part in parts)
    fused = FusedNorm.of(parts[0], parts[1], parts[2], parts[3], eps)
    gain, shift = fused.gain.values.double(), fused.shift.values.double()
    deviation = (var + eps).clamp(min=0).sqrt()
    exact = weight * (1 + eps) ** 0.5
    slope = gain * deviation - exact  # error of what a deviation of the inputs gives
    # error of what the mean of the inputs gives
    level = (gain / (1 + eps) ** 0.5 * mean + shift) - bias
    size = float(torch.cat([weight, bias]).square().mean())
    found = float((slope.square() + level.square()).mean())
    return bool(torch.isfinite(deviation).all()) and found <= _FUSED**2 * size
