"""Quantization with least-squares compensation, on the survivors of a mask as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autocomp.artifacts.scales import round_scale
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.channels import share, to_channels
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.rounding import descend, round_in_order
from autocomp.compression.weights.base import Quantizer
from autocomp.compression.weights.uniform import UniformQuantizer
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import AutocompError, ChoiceError
from autocomp.plugins.bounds import check_whole

_OCTAVES = torch.arange(17) / 8
"""How far below the full range the step of least plain error is looked for: the grid of scales."""
_TYPE = torch.float32
"""In which codes are looked for; errors are measured in float64."""
_AROUND = (0.84, 1.0, 1.19, 1.41)
"""Factors on that step which are tried with compensation: half-octave and quarter steps."""


class GPTQQuantizer(Quantizer):
    """Symmetric quantization, one scale a channel, each rounding error made up for by the rest.

    Columns are rounded in descending order of their inputs' energy with least-squares compensation
    (GPTQ, Frantar et al. 2023, arXiv:2210.17323), restricted to the weights that are not zero; the
    scale of each channel is the one, of several around the one of least plain error, with the
    least output error; coordinate descent then lowers the error further. Codes q lie in
    [-(2^(b-1)-1), 2^(b-1)-1]. Without input moments this is rounding to the nearest.

    Args:
        sweeps: passes of coordinate descent.
    """

    def __init__(self, sweeps: int = 3) -> None:
        check_whole(AutocompError, sweeps=(sweeps, 0, 1000))
        self.sweeps = sweeps

    def compress(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Tensor:
        """Returns the rounded weight; a plain copy for 32 bits."""
        if choice.weights.bits == 32:
            return weight.clone()
        return self.quantize(weight, choice, stats).dequantize(weight.dtype)

    def quantize(self, weight: Tensor, choice: Choice, stats: LayerStatistics) -> Quantized:
        """Returns codes and scales; ChoiceError for 32 bits."""
        return self.quantize_all(weight, [choice.weights.bits], stats)[0]

    def quantize_all(
        self, weight: Tensor, bits: Sequence[int], stats: LayerStatistics
    ) -> list[Quantized]:
        """Quantizes to several bit-widths at once, which costs little more than one.

        Args:
            weight: floating tensor of the layer's shape; zeros in it stay zero.
            bits: bit-widths in [2, 16].
            stats: the layer and the moments of its inputs.

        Raises:
            ChoiceError: for a bit-width out of range.
        """
        for one in bits:
            if not 2 <= one <= 16:
                raise ChoiceError(f"`2 <= weight_bits <= 16` must hold to quantize, but got {one}.")
        gram = stats.gram
        if gram is None:
            nearest = UniformQuantizer()
            return [nearest.quantize(weight, Choice.of(weight_bits=b), stats) for b in bits]
        layout = gram.layout
        target = layout.split(weight)
        kept = target != 0
        tops = torch.tensor([float(2 ** (b - 1) - 1) for b in bits], dtype=torch.float64)
        step, codes = self._started(gram, target, kept, tops)
        n = len(bits)
        scale, top = _rows_of(step), _tops_of(tops, target)
        codes = descend(
            gram.hessian, codes, scale, top, target.to(_TYPE).repeat(1, n, 1),
            kept.repeat(1, n, 1), self.sweeps,
        )  # fmt: skip
        return [
            Quantized(
                layout.join(part).to(torch.int8 if b <= 8 else torch.int32).contiguous(),
                to_channels(layout, step[i]),
            )
            for i, (part, b) in enumerate(zip(codes.chunk(n, 1), bits, strict=True))
        ]

    def _started(
        self, gram: Gram, target: Tensor, kept: Tensor, tops: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns steps `(bits, blocks, rows)` and codes `(blocks, bits * rows, width)`.

        Of several steps, each row takes the one with the least output error.
        """
        first = _plain_steps(gram, target, kept, tops)
        tried = [share(gram.layout, round_scale(first * f).to(torch.float64), "max")
                 for f in _AROUND]  # fmt: skip
        n, bits = len(tried), len(tops)
        blocks, rows, width = target.shape
        steps = torch.cat(tried)
        # all candidates and bit-widths in one pass: the loop over columns costs the same
        codes = self._round(gram, target, kept, steps, tops.repeat(n))
        error = gram.row_errors(
            codes * _rows_of(steps).to(codes.dtype) - target.to(codes.dtype).repeat(1, n * bits, 1)
        )
        error = error.reshape(blocks, n * bits, rows).transpose(0, 1)
        error = share(gram.layout, error, "sum").reshape(n, bits, blocks, rows)
        best = error.argmin(0, keepdim=True)
        step = steps.reshape(n, bits, blocks, rows).gather(0, best)[0]
        codes = codes.reshape(blocks, n, bits, rows, width).permute(1, 2, 0, 3, 4)
        codes = codes.gather(0, best[..., None].expand(-1, -1, -1, -1, width))[0]
        return step, codes.transpose(0, 1).reshape(blocks, bits * rows, width)

    def _round(
        self, gram: Gram, target: Tensor, kept: Tensor, step: Tensor, tops: Tensor
    ) -> Tensor:
        """Returns codes `(blocks, k * rows, width)` for steps `(k, blocks, rows)`."""
        k = len(tops)
        blocks, n_rows, width = target.shape
        found = torch.zeros(blocks, k, n_rows, width, dtype=_TYPE)
        for some, part, factor in gram.pieces(kept):
            gathered = factor.gather(target[some, part]).to(_TYPE)  # (systems, m, n)
            systems, m, _ = gathered.shape
            steps = step[:, some, part].reshape(k, systems, m)
            scale = steps.permute(1, 0, 2).reshape(systems, -1, 1).to(_TYPE)
            top = tops.to(_TYPE)[:, None].expand(-1, m).reshape(1, -1, 1).expand_as(scale)
            codes = round_in_order(factor, gathered.repeat(1, k, 1), scale, top)
            for i, one in enumerate(codes.chunk(k, 1)):
                found[some, i, part] = factor.scatter(one)
        return found.reshape(blocks, k * n_rows, width)


def _rows_of(step: Tensor) -> Tensor:
    """Returns `(k, blocks, rows)` steps as `(blocks, k * rows, 1)`."""
    return step.permute(1, 0, 2).reshape(step.shape[1], -1, 1).to(_TYPE)


def _tops_of(tops: Tensor, target: Tensor) -> Tensor:
    blocks, rows, _ = target.shape
    return tops.to(_TYPE)[:, None].expand(-1, rows).reshape(1, -1, 1).expand(blocks, -1, -1)


def _plain_steps(gram: Gram, target: Tensor, kept: Tensor, tops: Tensor) -> Tensor:
    """Returns `(bits, blocks, rows)` steps of least squared error, each input weighed by energy."""
    layout = gram.layout
    target = target.to(_TYPE)
    energy = gram.hessian.diagonal(dim1=1, dim2=2)[:, None, :].to(_TYPE) * layout.valid
    full = share(layout, target.abs().amax(2)[None], "max")[0]
    full = torch.where(full > 0, full, torch.ones_like(full))
    found = []
    for top in tops.tolist():
        errors, steps = [], []
        for octaves in _OCTAVES.tolist() if top < 2**15 - 1 else [0.0]:
            step = round_scale(full / top * 2**-octaves)
            rounded = torch.clamp(torch.round(target / step[..., None]), -top, top)
            error = ((rounded * step[..., None] - target).square() * energy * kept).sum(2)
            error = share(layout, error[None], "sum")[0]
            errors.append(error)
            steps.append(step)
        best = torch.stack(errors).argmin(0, keepdim=True)
        found.append(torch.stack(steps).gather(0, best)[0])
    return torch.stack(found).to(torch.float64)
