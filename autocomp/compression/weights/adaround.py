"""Adaptive rounding: whether each weight goes up or down is learned from input moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.channels import to_rows
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.weights.gptq import GPTQQuantizer
from autocomp.core.quantized import Quantized
from autocomp.errors import AutocompError
from autocomp.plugins.bounds import check_whole

_STRETCH = 1.2
_SHARPNESS = (20.0, 2.0)
"""The regulariser's exponent at the start and at the end of the annealing."""
_WEIGHT = 0.01
_FREE = 0.2
"""Share of the steps before the regulariser sets in."""


class AdaRoundQuantizer(GPTQQuantizer):
    """Symmetric quantization, one scale a channel, rounding learned (AdaRound in Gram form).

    q = clip(floor(w / s) + h(V)), h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1); V minimises
    tr(D M D^T) + lambda sum(1 - |2 h - 1|^beta) by Adam, beta falling from 20 to 2 (Nagel et al.
    2020, arXiv:2004.10568). The moments M stand for the calibration data, so a step is one matrix
    product. Scales are those of `GPTQQuantizer`. Slower than that, and near it in error.

    Args:
        steps: steps of Adam.
    """

    def __init__(self, steps: int = 400) -> None:
        super().__init__(sweeps=0)
        check_whole(AutocompError, steps=(steps, 1, 1_000_000))
        self.steps = steps

    def quantize_all(
        self, weight: Tensor, bits: Sequence[int], stats: LayerStatistics
    ) -> list[Quantized]:
        """Quantizes to several bit-widths; see `GPTQQuantizer.quantize_all`."""
        started = super().quantize_all(weight, bits, stats)
        gram = stats.gram
        if gram is None:
            return started
        target = gram.layout.split(weight)
        return [
            given if b == 1 else self._learned(gram, target, given, b)  # signs have no neighbours
            for given, b in zip(started, bits, strict=True)
        ]

    def _learned(self, gram: Gram, target: Tensor, given: Quantized, bits: int) -> Quantized:
        top = float(2 ** (bits - 1) - 1)
        step = to_rows(gram.layout, given.scale)
        scaled = target / step
        floor = scaled.floor()
        kept = (target != 0).to(torch.float64)
        rest = (scaled - floor).clamp(1e-4, 1 - 1e-4)
        start = ((rest + 0.1) / _STRETCH).clamp(1e-4, 1 - 1e-4)
        v = (start / (1 - start)).log().requires_grad_()
        moment = gram.hessian / gram.hessian.diagonal(dim1=1, dim2=2).mean()
        scale = (step / step.mean()).square()
        optimizer = torch.optim.Adam([v], lr=1e-2)
        with torch.enable_grad():
            for number in range(self.steps):
                up = (_STRETCH * torch.sigmoid(v) - 0.1).clamp(0, 1)
                codes = (floor + up).clamp(-top, top) * kept
                difference = codes - scaled * kept
                loss = ((difference @ moment) * difference * scale).sum()
                progress = max(0.0, (number / self.steps - _FREE) / (1 - _FREE))
                if progress > 0:
                    beta = _SHARPNESS[0] + (_SHARPNESS[1] - _SHARPNESS[0]) * progress
                    loss = loss + _WEIGHT * ((1 - (2 * up - 1).abs() ** beta) * kept).sum()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        with torch.no_grad():
            up = (torch.sigmoid(v) >= 0.5).to(torch.float64)
            codes = (floor + up).clamp(-top, top) * kept
            difference = codes * step - target
            before = gram.layout.split(given.codes.to(torch.float64)) * step - target
            # a channel on which learning did not help keeps the compensated rounding
            worse = gram.row_errors(difference) > gram.row_errors(before)
            codes = torch.where(worse[..., None], (before + target) / step, codes).round()
        return Quantized(gram.layout.join(codes).to(given.codes.dtype).contiguous(), given.scale)
