"""Quantization with least-squares compensation, on the survivors of a mask as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autocomp.artifacts.scales import round_scale
from autocomp.compression.calibration.statistics import LayerStatistics
from autocomp.compression.recovery.channels import share, to_channels
from autocomp.compression.recovery.gram import ROUNDED, Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.recovery.rounding import descend, round_in_order
from autocomp.compression.weights.base import Quantizer
from autocomp.compression.weights.uniform import UniformQuantizer
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.errors import AutocompError, ChoiceError
from autocomp.plugins.bounds import check_whole

_OCTAVES = torch.arange(17) / 8
"""How far below the full range the step of least plain error is looked for: the grid of scales."""
_SAMPLE = 1024
"""Weights of a row that are looked at for that."""
_TYPE = torch.float32
"""In which codes are looked for; errors are measured in float64."""
_AROUND = (0.84, 1.0, 1.19, 1.41)
"""Factors on that step which are tried with compensation: half-octave and quarter steps."""

_PASSES = ((3, 1000), (7, 2), (31, 1))
"""Largest code, and how many passes of coordinate descent still gain something there."""


class GPTQQuantizer(Quantizer):
    """Symmetric quantization, one scale a channel, each rounding error made up for by the rest.

    Columns are rounded in descending order of their inputs' energy with least-squares compensation
    (GPTQ, Frantar et al. 2023, arXiv:2210.17323), restricted to the weights that are not zero; the
    scale of each channel is the one, of several around the one of least plain error, with the
    least output error; coordinate descent then lowers the error further. Codes q lie in
    [-(2^(b-1)-1), 2^(b-1)-1]; with one bit they are -1 and 1 (BinaryConnect, Courbariaux et al.
    2015, arXiv:1511.00363; XNOR-Net, Rastegari et al. 2016, arXiv:1603.05279). Without input
    moments this is rounding to the nearest.

    Args:
        sweeps: most passes of coordinate descent; from 4 bits on, where it gains little, fewer.
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
            bits: bit-widths in [1, 16].
            stats: the layer and the moments of its inputs.

        Raises:
            ChoiceError: for a bit-width out of range.
        """
        for one in bits:
            if not 1 <= one <= 16:
                raise ChoiceError(f"`1 <= weight_bits <= 16` must hold to quantize, but got {one}.")
        gram = stats.gram
        if gram is None:
            nearest = UniformQuantizer()
            return [nearest.quantize(weight, Choice.of(weight_bits=b), stats) for b in bits]
        ordered = sorted(set(bits))
        if ordered != list(bits):
            made = dict(zip(ordered, self.quantize_all(weight, ordered, stats), strict=True))
            return [made[b] for b in bits]
        layout = gram.layout
        target = layout.split(weight)
        kept = target != 0
        tops = torch.tensor([float(2 ** (b - 1) - 1) for b in bits], dtype=torch.float64)
        step, codes = self._started(gram, target, kept, tops)
        codes = self._descended(gram, codes, step, tops, target, kept)
        return [
            Quantized(
                layout.join(part).to(torch.int8 if b <= 8 else torch.int32).contiguous(),
                to_channels(layout, step[i]),
            )
            for i, (part, b) in enumerate(zip(codes.chunk(len(bits), 1), bits, strict=True))
        ]

    def _descended(
        self, gram: Gram, codes: Tensor, step: Tensor, tops: Tensor, target: Tensor, kept: Tensor
    ) -> Tensor:
        """Improves `(blocks, bits * rows, width)` codes, a part of the rows at a time."""
        n, (blocks, rows, width) = len(tops), target.shape
        passes = [min(self.sweeps, most) for most in _passes(tops)]
        # how many bit-widths, from the fewest bits, take part in each pass
        taking = [sum(most > done for most in passes) for done in range(max(passes))]
        codes = codes.reshape(blocks, n, rows, width)
        chunk = max(1, ROUNDED // width)
        for start in range(0, rows, chunk):
            part = slice(start, start + chunk)
            here, live = target[:, part].to(_TYPE), kept[:, part]
            count = here.shape[1]
            codes[:, :, part] = descend(
                gram.single_hessian, codes[:, :, part].reshape(blocks, -1, width),
                _rows_of(step[:, :, part]), _tops_of(tops, here), here.repeat(1, n, 1),
                live.repeat(1, n, 1), [number * count for number in taking],
            ).reshape(blocks, n, count, width)  # fmt: skip
        return codes.reshape(blocks, -1, width)

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
        codes, error = self._round(gram, target, kept, steps, tops.repeat(n))
        error = error.reshape(blocks, n * bits, rows).transpose(0, 1)
        error = share(gram.layout, error, "sum").reshape(n, bits, blocks, rows)
        best = error.argmin(0, keepdim=True)
        step = steps.reshape(n, bits, blocks, rows).gather(0, best)[0]
        codes = codes.reshape(blocks, n, bits, rows, width).permute(1, 2, 0, 3, 4)
        codes = codes.gather(0, best[..., None].expand(-1, -1, -1, -1, width))[0]
        return step, codes.transpose(0, 1).reshape(blocks, bits * rows, width)

    def _round(
        self, gram: Gram, target: Tensor, kept: Tensor, step: Tensor, tops: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns codes `(blocks, k * rows, width)` for steps `(k, blocks, rows)`, and errors.

        Rows of wide layers share the system of all columns, whatever a row keeps.
        """
        k = len(tops)
        blocks, n_rows, width = target.shape
        found = torch.zeros(blocks, k, n_rows, width, dtype=_TYPE)
        errors = torch.zeros(blocks, k, n_rows, dtype=_TYPE)
        for some, part, factor in gram.systems(kept):
            gathered = factor.gather(target[some, part]).to(_TYPE)  # (systems, m, n)
            systems, m, _ = gathered.shape
            live = factor.valid[:, None]
            if factor.shared:
                live = factor.gather(kept[some, part]).repeat(1, k, 1)
            steps = step[:, some, part].reshape(k, systems, m)
            scale = steps.permute(1, 0, 2).reshape(systems, -1, 1).to(_TYPE)
            top = tops.to(_TYPE)[:, None].expand(-1, m).reshape(1, -1, 1).expand_as(scale)
            codes, error = round_in_order(factor, gathered.repeat(1, k, 1), live, scale, top)
            for i, (one, off) in enumerate(zip(codes.chunk(k, 1), error.chunk(k, 1), strict=True)):
                found[some, i, part] = factor.scatter(one)
                errors[some, i, part] = off.reshape(found[some, i, part].shape[:2])
        return found.reshape(blocks, k * n_rows, width), errors.reshape(blocks, -1)


def _passes(tops: Tensor) -> list[int]:
    """Returns after how many passes a bit-width has what descent can give, within 0.3 %.

    Measured on ResNet-20's layers: at 2 and 3 bits errors fall by 2 to 10 % in three passes and
    more, at 4 bits by 1 % in two, at 5 and 6 by 0.3 % in one; above that they do not fall.
    """
    return [next((n for top, n in _PASSES if t <= top), 0) for t in tops.tolist()]


def _rows_of(step: Tensor) -> Tensor:
    """Returns `(k, blocks, rows)` steps as `(blocks, k * rows, 1)`."""
    return step.permute(1, 0, 2).reshape(step.shape[1], -1, 1).to(_TYPE)


def _tops_of(tops: Tensor, target: Tensor) -> Tensor:
    blocks, rows, _ = target.shape
    return tops.to(_TYPE)[:, None].expand(-1, rows).reshape(1, -1, 1).expand(blocks, -1, -1)


def _plain_steps(gram: Gram, target: Tensor, kept: Tensor, tops: Tensor) -> Tensor:
    """Returns `(bits, blocks, rows)` steps of least squared error, each input weighed by energy.

    Rows of more than `_SAMPLE` weights are looked at in every second, third, ... column.
    """
    layout = gram.layout
    target = target.to(_TYPE)
    columns = slice(None, None, -(-target.shape[2] // _SAMPLE))
    energy = gram.hessian.diagonal(dim1=1, dim2=2)[:, None, columns].to(_TYPE)
    energy = energy * layout.valid[..., columns] * kept[..., columns]
    some = target[..., columns]
    found = []
    for top in tops.tolist():
        full = _reach(layout, target, top)
        octaves = _OCTAVES if top < 2**15 - 1 else _OCTAVES[:1]
        steps = round_scale(
            full / max(1.0, top) * 2 ** -octaves[:, None, None]
        )  # (octaves, blocks, rows)
        errors = torch.stack([_plain_error(some, step[..., None], top, energy) for step in steps])
        best = share(layout, errors, "sum").argmin(0, keepdim=True)
        found.append(steps.gather(0, best)[0])
    return torch.stack(found).to(torch.float64)


def _reach(layout: Layout, target: Tensor, top: float) -> Tensor:
    """Returns `(blocks, rows)`: what the largest code of the widest step that is tried stands for.

    The largest magnitude; of signs, whose best step is about the mean magnitude, twice that.
    """
    size = target.abs()
    each = size.amax(2) if top else 2 * size.sum(2) / (size != 0).sum(2).clamp(min=1)
    full = share(layout, each[None], "max")[0]
    return torch.where(full > 0, full, torch.ones_like(full))


def _plain_error(target: Tensor, step: Tensor, top: float, energy: Tensor) -> Tensor:
    """Returns the squared error of rounding to the nearest, each input weighed by energy."""
    rounded = (target / step).round_().clamp_(-top, top) if top else target.sign()
    return rounded.mul_(step).sub_(target).square_().mul_(energy).sum(2)
