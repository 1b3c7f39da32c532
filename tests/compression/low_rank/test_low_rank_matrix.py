from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.low_rank import (
    applies_to,
    composed_weight,
    decompose,
    full_rank,
    output_errors,
)
from autocomp.compression.low_rank.chain import channel_moment, cross
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout

Make = Callable[..., tuple[Any, Tensor]]
Moments = Callable[..., Gram]


@torch.no_grad()
def test_svd_by_hand() -> None:
    """W = 3 e1 e1^T + 2 e2 e2^T: rank 1 keeps the first, and both factors share the 3."""
    module = nn.Linear(3, 2, bias=False).double()
    module.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 2, 0]]))
    chain = decompose(module, "svd", 1)
    root = 3**0.5
    torch.testing.assert_close(chain[0].weight, torch.tensor([[root, 0, 0]]).double())
    torch.testing.assert_close(chain[1].weight, torch.tensor([[root], [0]]).double())


@torch.no_grad()
def test_data_svd_by_hand(moments: Moments) -> None:
    """Where the second input is four times as loud, the smaller weight matters more."""
    module = nn.Linear(2, 2, bias=False).double()
    module.weight.copy_(torch.tensor([[3.0, 0], [0, 2]]))
    x = torch.tensor([[1.0, 4], [1, -4], [-1, 4], [-1, -4]]).double()
    gram = moments(module, x)
    assert gram.second.tolist() == [[[1, 0], [0, 16]]]
    chain = decompose(module, "data-svd", 1, gram)
    torch.testing.assert_close(
        composed_weight(chain), torch.tensor([[0.0, 0], [0, 2]]).double(), atol=1e-12, rtol=0
    )
    # the energies are 3^2 * 1 and 2^2 * 16
    torch.testing.assert_close(
        output_errors(module.weight, gram), torch.tensor([73.0, 9, 0]).double()
    )


@torch.no_grad()
def test_svd_loses_the_other_singular_values(name: str, make: Make) -> None:
    module, _ = make(name)
    for method in ("svd", "spatial-svd"):
        if not applies_to(module, method):
            continue
        matrix = module.weight.flatten(1)
        if method == "spatial-svd":
            outs, ins, height, width = module.weight.shape
            matrix = module.weight.permute(1, 2, 0, 3).reshape(ins * height, outs * width)
        squares = torch.linalg.svdvals(matrix).square()
        for rank in range(1, full_rank(module, method) + 1):
            lost = module.weight - composed_weight(decompose(module, method, rank))
            torch.testing.assert_close(
                lost.square().sum(), squares[rank:].sum(), rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("centred", [True, False])
@torch.no_grad()
def test_data_svd_reaches_the_closed_form(
    name: str, centred: bool, make: Make, moments: Moments
) -> None:
    """Closed-form error = the measured one of the outputs <= that of the plain SVD."""
    module, x = make(name)
    gram = moments(module, x, centred=centred)
    expected = output_errors(module.weight, gram)
    full = full_rank(module, "data-svd")
    assert expected.shape == (full + 1,) and expected[full] == 0
    torch.testing.assert_close(float(expected[0]), gram.error(module.weight.data))
    y, axis = module(x), x.dim() - 1 if isinstance(module, nn.Linear) else 1
    better = 0
    for rank in range(1, full + 1):
        chain = decompose(module, "data-svd", rank, gram)
        off = (chain(x) - y).movedim(axis, -1).flatten(0, -2)
        if centred and module.bias is None:
            off = off - off.mean(0)
        measured = float(off.square().sum(1).mean())
        assert measured == pytest.approx(float(expected[rank]), rel=1e-8, abs=1e-9)
        plain = gram.error(composed_weight(decompose(module, "svd", rank)) - module.weight)
        assert measured <= plain * (1 + 1e-9) + 1e-9
        better += measured < plain * (1 - 1e-6)
    assert better > 0


@torch.no_grad()
def test_data_svd_is_the_svd_of_the_weight_times_the_root(make: Make, moments: Moments) -> None:
    """W' = [W G^(1/2)]_r G^(-1/2), computed the direct way."""
    module, x = make("wide linear")
    gram = moments(module, x)
    values, vectors = torch.linalg.eigh(gram.moment[0])
    root = vectors * values.sqrt() @ vectors.T
    left, s, right = torch.linalg.svd(module.weight @ root, full_matrices=False)
    expected = (left[:, :2] * s[:2]) @ right[:2] @ torch.linalg.inv(root)
    torch.testing.assert_close(
        composed_weight(decompose(module, "data-svd", 2, gram)), expected, rtol=1e-8, atol=1e-8
    )


@torch.no_grad()
def test_nothing_of_the_same_rank_is_better(make: Make, moments: Moments) -> None:
    """Small moves of both factors never lower the error of the outputs."""
    module, x = make("conv")
    gram = moments(module, x)
    chain = decompose(module, "data-svd", 3, gram)
    least = gram.error(composed_weight(chain) - module.weight)
    generator = torch.Generator().manual_seed(1)
    for step in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            moved = decompose(module, "data-svd", 3, gram)
            for layer in moved:
                noise = torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64)
                layer.weight.add_(step * noise)
            assert gram.error(composed_weight(moved) - module.weight) > least


@torch.no_grad()
def test_sliced_inputs_are_a_block_diagonal_metric(make: Make, moments: Moments) -> None:
    module, x = make("conv")  # 45 inputs an output
    sliced = moments(module, x, limit=16)
    assert sliced.layout.slices == 3 and not sliced.is_whole and sliced.layout.padding == 0
    uneven = moments(module, x, limit=20)  # cut in the middle of a kernel position, with padding
    assert uneven.layout.slices == 3
    uneven = moments(module, x, limit=12)
    assert uneven.layout.padding == 3
    for gram in (sliced, uneven):
        errors = output_errors(module.weight, gram)
        torch.testing.assert_close(float(errors[0]), gram.error(module.weight.data))
        for method in ("data-svd", "tucker", "cp", "tt"):
            for rank in range(1, 6):
                lost = composed_weight(decompose(module, method, rank, gram)) - module.weight
                if method == "data-svd":
                    assert gram.error(lost) == pytest.approx(float(errors[rank]), rel=1e-8)
                plain = composed_weight(decompose(module, "svd", rank)) - module.weight
                assert method != "data-svd" or gram.error(lost) <= gram.error(plain)


@torch.no_grad()
def test_a_block_diagonal_metric_is_the_whole_one_without_its_other_blocks(
    make: Make, moments: Moments
) -> None:
    module, x = make("conv")
    whole, sliced = moments(module, x), moments(module, x, limit=12)
    width = sliced.layout.width
    block = torch.arange(45) // width
    kept = torch.where(block[:, None] == block, whole.second[0], 0.0)
    means = torch.where(block[:, None] == block, torch.outer(whole.mean[0], whole.mean[0]), 0.0)
    zeroed = Gram(whole.layout, (kept - means)[None], torch.zeros_like(whole.mean), whole.count)
    for method in ("data-svd", "tucker", "tt"):
        first = composed_weight(decompose(module, method, 3, zeroed))
        second = composed_weight(decompose(module, method, 3, sliced))
        torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-7)


def test_cross_and_channel_moments(make: Make, moments: Moments) -> None:
    """Against the plain matrix products on columns in the layout's order."""
    module, x = make("conv")
    gram = moments(module, x)
    weight = module.weight.data
    columns = weight.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(cross(weight, weight, gram), columns @ gram.moment[0] @ columns.T)
    blocks = gram.moment[0].reshape(9, 5, 9, 5)
    mean = torch.stack([blocks[k, :, k] for k in range(9)]).mean(0)
    torch.testing.assert_close(channel_moment(gram), mean)
    layout = Layout.of(gram.layout.layer, 12)
    sliced = dataclasses.replace(moments(module, x, limit=12), layout=layout)
    torch.testing.assert_close(channel_moment(sliced).diagonal(), mean.diagonal())


@torch.no_grad()
def test_few_inputs_leave_directions_silent(make: Make, moments: Moments) -> None:
    """Three inputs span three directions: rank 3 has no error there, the rest is the weight's."""
    module, x = make("wide linear")
    gram = moments(module, x[:3], centred=False)
    errors = output_errors(module.weight, gram)
    assert errors[2] > 1e-3 and errors[3] == pytest.approx(0, abs=1e-10)
    chain = decompose(module, "data-svd", 3, gram)
    torch.testing.assert_close(chain(x[:3]), module(x[:3]), rtol=1e-8, atol=1e-8)
    whole = decompose(module, "data-svd", 4, gram)
    torch.testing.assert_close(whole(x), module(x), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_both_sides_have_one_scale(make: Make, moments: Moments) -> None:
    module, x = make("conv")
    for method in ("svd", "data-svd", "spatial-svd"):
        gram = moments(module, x) if method == "data-svd" else None
        first, second = (p.weight for p in decompose(module, method, 4, gram))
        torch.testing.assert_close(
            first.flatten(1).norm(dim=1), second.transpose(0, 1).flatten(1).norm(dim=1)
        )
