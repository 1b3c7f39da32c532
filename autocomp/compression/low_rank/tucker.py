"""Tucker-2: fewer input and output channels around a smaller kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autocomp.compression.low_rank.chain import channel_moment, cross, regression, spread
from autocomp.compression.low_rank.matrix import energetic_basis, singular
from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.recovery.gram import Gram

_ROUNDS = 20
_ENOUGH = 1e-6
"""The search for subspaces ends when a round gains less than this share of the kernel's energy."""


class Tucker:
    """Three layers: 1 x 1 to fewer channels, a core with the kernel, 1 x 1 back.

    W ~ core x_out U x_in V (Kim et al. 2016, arXiv:1511.06530), by higher-order singular value
    decomposition of the two channel modes, refined by alternation (HOOI). One rank gives both: with
    I = min(ins, outs * k), O = min(outs, ins * k), the modes' own full ranks, and R = max(I, O),
    rank r keeps ceil(r I / R) input and ceil(r O / R) output channels of the core.

    With moments of the inputs, V comes from the input mode weighted by the channels' moment, and U
    and the core are the best ones for the outputs of the layer, given V (reduced-rank regression).
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a convolution without groups and a kernel above 1."""
        return layer.groups == 1 and any(k > 1 for k in layer.kernel)

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns the larger of the two modes' full ranks."""
        return max(_full(layer.weight_shape))

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns 1 x 1, the core, 1 x 1."""
        outs, ins = _ranks(layer.weight_shape, rank)
        core = layer.with_kernel(ins, outs, range(len(layer.kernel)))
        return layer.pointwise(layer.ins, ins), core, layer.pointwise(outs, layer.outs)

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(i, ins, 1...)`, `(o, i, *kernel)` and `(outs, o, 1...)`."""
        n_out, n_in = _ranks(tuple(weight.shape), rank)
        if gram is None:
            left, right = _subspaces(weight, n_out, n_in)
            core = _along(_along(weight, left.T, 0), right.T, 1)
        else:
            right = _input_space(weight, gram, n_in)
            left, core = _output_space(weight, right, gram)
            left, core = left[:, :n_out], core[:n_out]
        ones = (1,) * (weight.dim() - 2)
        first, last = right.T.reshape(n_in, -1, *ones), left.reshape(-1, n_out, *ones)
        return first, core, last


def _full(shape: tuple[int, ...]) -> tuple[int, int]:
    outs, ins = shape[:2]
    positions = math.prod(shape[2:])
    return min(outs, ins * positions), min(ins, outs * positions)


def _ranks(shape: tuple[int, ...], rank: int) -> tuple[int, int]:
    outs, ins = _full(shape)
    full = max(outs, ins)
    return -(-rank * outs // full), -(-rank * ins // full)


def _along(weight: Tensor, matrix: Tensor, mode: int) -> Tensor:
    """Returns the weight with `matrix` applied along a mode."""
    moved: Tensor = torch.tensordot(matrix, weight, dims=([1], [mode]))
    return moved.movedim(0, mode)


def _leading(weight: Tensor, mode: int, rank: int) -> Tensor:
    return singular(weight.movedim(mode, 0).flatten(1))[0][:, :rank]


def _subspaces(weight: Tensor, n_out: int, n_in: int) -> tuple[Tensor, Tensor]:
    """Returns orthonormal `(outs, n_out)` and `(ins, n_in)` that keep most of the kernel."""
    left, right = _leading(weight, 0, n_out), _leading(weight, 1, n_in)
    total = float(weight.square().sum())
    kept = float(_along(_along(weight, left.T, 0), right.T, 1).square().sum())
    for _ in range(_ROUNDS):
        if total - kept <= 1e-12 * total:  # exact already
            break
        left = _leading(_along(weight, right.T, 1), 0, n_out)
        right = _leading(_along(weight, left.T, 0), 1, n_in)
        before = kept
        kept = float(_along(_along(weight, left.T, 0), right.T, 1).square().sum())
        if kept - before <= _ENOUGH * total:
            break
    return left, right


def _input_space(weight: Tensor, gram: Gram, n_in: int) -> Tensor:
    """Returns orthonormal `(ins, n_in)`: input directions that are loud and listened to.

    With S the channels' moment they are S^(-1/2) times the first left singular vectors of the
    input mode of W x_in S^(1/2); those of a lower rank are among those of a higher one.
    """
    moment = channel_moment(gram)
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    floor = 1e-6 * float(values.mean())
    roots = (values.clamp(min=0) + (floor if floor > 0 else 1.0)).sqrt()
    loud = _leading(_along(weight, vectors * roots @ vectors.T, 1), 1, n_in)
    basis: Tensor = torch.linalg.qr(vectors / roots @ (vectors.T @ loud))[0]
    return basis


def _output_space(weight: Tensor, right: Tensor, gram: Gram) -> tuple[Tensor, Tensor]:
    """Returns U and the core for every output rank, given V: their leading parts are the best."""
    n_in, kernel = right.shape[1], weight.shape[2:]
    reduced = _along(weight, right.T, 1)
    inner = spread(right.T.reshape(n_in, -1, *(1 for _ in kernel)), kernel)
    rest = weight - _along(reduced, right, 1)
    best = reduced.flatten(1) + regression(rest, inner, gram)
    metric = cross(inner, inner, gram)
    left, rows, _ = energetic_basis(best, lambda x: x @ metric @ x.T)
    return left, rows.reshape(-1, n_in, *kernel)
