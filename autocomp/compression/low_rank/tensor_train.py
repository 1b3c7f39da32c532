"""Tensor train: a convolution as a chain that mixes channels along one kernel axis at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autocomp.compression.low_rank.axes import kernel_axes
from autocomp.compression.low_rank.chain import fitted
from autocomp.compression.low_rank.plain_layer import PlainLayer
from autocomp.compression.low_rank.tensorly_backend import numpy_tensorly
from autocomp.compression.recovery.gram import Gram


class TensorTrain:
    """1 x 1, one layer for each kernel axis, 1 x 1.

    The kernel seen as `(ins, k_1, .., k_d, outs)` is a product of cores (Oseledets 2011; for
    networks Novikov et al. 2015, arXiv:1509.06569), by successive singular value decompositions.
    Every rank of the train is the smaller of the one given and its own full rank. Axes of kernel
    size 1 get no core; the first axis' layer takes their stride and padding. With moments of the
    inputs the last layer is fitted to the outputs.

    For linear layers a tensor-train matrix reshapes between its cores, which is no chain of plain
    layers: it does not apply to them.
    """

    def applies_to(self, layer: PlainLayer) -> bool:
        """Says whether it is a convolution without groups and a kernel above 1."""
        return layer.groups == 1 and any(k > 1 for k in layer.kernel)

    def full_rank(self, layer: PlainLayer) -> int:
        """Returns the largest of the train's full ranks."""
        return max(_ranks(layer.weight_shape, layer.n_weights))

    def pieces(self, layer: PlainLayer, rank: int) -> tuple[PlainLayer, ...]:
        """Returns 1 x 1, one layer an axis, 1 x 1."""
        ranks = _ranks(layer.weight_shape, rank)
        return (
            layer.pointwise(layer.ins, ranks[0]),
            *(
                layer.with_kernel(ranks[place], ranks[place + 1], axes)
                for place, axes in enumerate(kernel_axes(layer.kernel))
            ),
            layer.pointwise(ranks[-1], layer.outs),
        )

    def factors(self, weight: Tensor, rank: int, gram: Gram | None) -> tuple[Tensor, ...]:
        """Returns `(r_1, ins, 1...)`, one `(r_i+1, r_i, ..k..)` an axis, `(outs, r_d+1, 1...)`."""
        outs, ins, *kernel = weight.shape
        wide = [k for k in kernel if k > 1]
        ranks = _ranks(tuple(weight.shape), rank)
        train = weight.reshape(outs, ins, *wide).movedim(0, -1).contiguous()
        with numpy_tensorly() as methods:
            found = methods.tensor_train(train.numpy(), [1, *ranks, 1])
        cores = [torch.from_numpy(core.copy()) for core in found.factors]
        ones = (1,) * len(kernel)
        chain = [cores[0][0].T.reshape(-1, ins, *ones)]
        for axes, core in zip(kernel_axes(tuple(kernel)), cores[1:-1], strict=True):
            shape = [kernel[axis] if axis in axes else 1 for axis in range(len(kernel))]
            chain.append(core.permute(2, 0, 1).reshape(core.shape[2], core.shape[0], *shape))
        chain.append(cores[-1][..., 0].T.reshape(outs, -1, *ones))
        return fitted(weight, tuple(x.contiguous() for x in chain), gram)


def _ranks(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Returns the train's ranks, none above `rank`: one more than there are kernel axes."""
    outs, ins = shape[:2]
    sizes = [ins, *(k for k in shape[2:] if k > 1), outs]
    return tuple(
        min(rank, math.prod(sizes[:cut]), math.prod(sizes[cut:])) for cut in range(1, len(sizes))
    )
