"""Gram matrices: what they predict is what is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.recovery.gram import Gram, GramSum
from autocomp.compression.recovery.layout import Layout
from autocomp.network.analysis import analyse


def channel_axis(layer: Any, output: Tensor) -> int:
    return 1 if layer.kind in ("conv", "transposed") else output.dim() - 1


def changed(weight: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return weight + 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)


def test_split_and_join_are_inverse(case: Any) -> None:
    layout = Layout.of(case.layer, 5)
    blocks = layout.split(case.weight)
    assert blocks.shape == (layout.groups * layout.slices, layout.rows, layout.width)
    assert torch.equal(layout.join(blocks).to(case.weight.dtype), case.weight)
    assert not blocks.masked_select(~layout.valid.expand_as(blocks)).any()


def test_the_predicted_error_is_the_measured_one(
    kind: str, dtype: torch.dtype, make_case: Any
) -> None:
    case = make_case(kind, dtype)
    weight = changed(case.weight)
    difference = case.output(weight) - case.output(case.weight)
    axis = channel_axis(case.layer, difference)
    per_channel = difference.double().movedim(axis, 0).flatten(1)
    measured = float(per_channel.square().mean(1).sum())
    if case.gram.centred:
        measured = float(per_channel.var(1, correction=0).sum())
    assert case.gram.centred == case.layer.bias
    assert case.gram.error(weight - case.weight) == pytest.approx(
        measured, rel=1e-4 if dtype == torch.float32 else 1e-9
    )


def test_the_predicted_shift_is_the_measured_one(case: Any) -> None:
    weight = changed(case.weight)
    difference = case.output(weight) - case.output(case.weight)
    axis = channel_axis(case.layer, difference)
    measured = difference.movedim(axis, 0).flatten(1).mean(1)
    torch.testing.assert_close(case.gram.shift(weight - case.weight), measured)


def test_moments_do_not_depend_on_batches(case: Any) -> None:
    network = analyse(case.model, case.x)
    one = input_moments(case.model, network, [case.x])[case.layer.name]
    torch.testing.assert_close(one.second, case.gram.second)
    assert one.count == case.gram.count


def test_a_wide_layer_gets_blocks_and_says_so(make_case: Any) -> None:
    whole, cut = make_case("conv"), make_case("conv", limit=10)
    assert whole.gram.is_whole and not cut.gram.is_whole
    assert cut.gram.second.shape == (3, 9, 9)
    for block in range(3):
        part = slice(9 * block, 9 * block + 9)
        torch.testing.assert_close(cut.gram.second[block], whole.gram.second[0, part, part])
    # a change within one block is predicted exactly
    inside = torch.zeros_like(cut.weight)
    inside[:, :, 0, :2] += 0.1
    assert cut.gram.error(inside) == pytest.approx(whole.gram.error(inside))
    difference = changed(cut.weight) - cut.weight
    torch.testing.assert_close(cut.gram.shift(difference), whole.gram.shift(difference))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("part", ["in_proj", "out_proj"])
def test_attention_projections(attention: Any, bias: bool, part: str) -> None:
    torch.manual_seed(0)
    model = attention(bias=bias).double().eval()
    x = torch.randn(5, 6, 8, dtype=torch.float64)
    network = analyse(model, x)
    layer = network.layer(f"inner.{part}")
    gram = input_moments(model, network, [x])[layer.name]
    weight = model.get_parameter(layer.parameter)
    difference = changed(weight.detach()) - weight.detach()
    if part == "in_proj":
        moved = x.reshape(-1, 8) @ difference.T
    else:  # what the output projection adds to the output is what its inputs say
        before = model.inner(x, x, x)[0]
        with torch.no_grad():
            weight += difference
        moved = (model.inner(x, x, x)[0] - before).reshape(-1, 8)
    wanted = moved.var(0, correction=0).sum() if bias else moved.square().mean(0).sum()
    assert gram.error(difference) == pytest.approx(float(wanted.detach()))


def test_a_batch_norm_behind_the_layer_centres_the_error() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Flatten())
    normed = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()
    )
    x = torch.randn(4, 2, 3, 3) + 1
    for model, centred in ((plain, False), (normed, True)):
        model.eval()
        gram = input_moments(model, analyse(model, x), [x])["0"]
        assert gram.centred is centred


def test_shared_weights_count_every_use() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    x = torch.randn(6, 4)
    network = analyse(model, x)
    gram = input_moments(model, network, [x])[network.names[0]]
    inner = torch.relu(layer(x)).detach()
    both = torch.cat([x, inner]).double()
    torch.testing.assert_close(gram.second[0], both.T @ both / 12, rtol=1e-5, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, 1, 5, 5)
    input_moments(model, analyse(model, x), [x])
    assert model.training and model[1].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_nothing_seen_is_nothing_known() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    network = analyse(model, torch.randn(3, 4))
    assert GramSum(Layout.of(network.layers[0])).result() is None
    broken = torch.full((3, 4), torch.nan)
    assert input_moments(model, network, [broken]) == {}


def test_rounding_noise_below_zero_is_damped_away() -> None:
    """Of inputs a thousand times apart float32 products may leave an indefinite matrix."""
    torch.manual_seed(0)
    layout = Layout.of(analyse(nn.Sequential(nn.Linear(6, 4)), torch.randn(2, 6)).layers[0])
    q, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    moment = q @ torch.diag(torch.tensor([1e6, 1e3, 1.0, 1.0, -2e4, 1e-3])).double() @ q.T
    gram = Gram(layout, moment[None], torch.zeros(1, 6, dtype=torch.float64), 1000)
    lower = torch.linalg.cholesky(gram.hessian)  # raises if it is not positive definite
    assert bool(torch.isfinite(lower).all())
    fine = Gram(layout, moment[None] + 3e4 * torch.eye(6), gram.mean, 1000)
    damped = fine.hessian - fine.moment  # what factorises at once gets the usual damping only
    expected = 1.01e-3 * fine.moment.diagonal(dim1=1, dim2=2).mean()
    torch.testing.assert_close(damped, expected * torch.eye(6, dtype=torch.float64)[None])
