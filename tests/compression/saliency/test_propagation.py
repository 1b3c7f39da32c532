"""Importance (NISP) and relevance (LRP) against their recursions, written out layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.compression.saliency import make_criterion
from autocomp.compression.saliency.importance import importance
from autocomp.compression.saliency.propagation import constant_parameters
from autocomp.compression.saliency.relevance import relevance
from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.compression.structure.heads import HeadAttention
from autocomp.errors import LayerError

MODES = {"importance": importance, "relevance": relevance}


def carried(kind: str, model: Callable[[Tensor], Tensor], x: Tensor, seeds: Any = None) -> Tensor:
    """Returns what arrives at the input; the outputs' seeds are ones, or the outputs."""
    x = x.clone().requires_grad_()
    module = model if isinstance(model, nn.Module) else nn.Module()
    with constant_parameters(module):
        with MODES[kind]():
            y = model(x)
        start = seeds if seeds is not None else y.detach() if kind == "relevance" else None
        start = torch.ones_like(y) if start is None else start
        return torch.autograd.grad(y, x, start)[0]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("name", ["mlp", "chain", "residual", "depthwise", "flatten"])
def test_the_values_of_the_network_stay(kind: str, name: str, case: Any) -> None:
    found = case(name)
    with MODES[kind]():
        y = found.model(found.inputs.clone().requires_grad_())
    assert torch.equal(y, found.model(found.inputs))


# ---- importance


def test_importance_of_an_mlp() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2))
    got = carried("importance", model, normal(2, 3))
    last, middle, first = (model[k].weight.detach().abs() for k in (4, 2, 0))
    expected = first.t() @ middle.t() @ last.t() @ torch.ones(2)
    torch.testing.assert_close(got, expected.expand(2, 3))


def test_importance_of_a_small_cnn(case: Any) -> None:
    found = case("chain")
    model = found.model
    got = make_criterion("nisp:scaling=none").scores(model, found.groups, found.batches)
    last = model[7].weight.detach().abs().sum(0)
    torch.testing.assert_close(got["3"], last)  # nine places of a ninth each
    spread = (last / 9)[None, :, None, None].expand(1, 6, 3, 3)
    first = F.conv_transpose2d(spread, model[3].weight.detach().abs())
    torch.testing.assert_close(got["0"], first.sum((0, 2, 3)))
    scale = model[1].weight.detach().abs() / (model[1].running_var + model[1].eps).sqrt()
    image = F.conv_transpose2d(
        first * scale[None, :, None, None], model[0].weight.detach().abs(), padding=1
    )
    torch.testing.assert_close(carried("importance", model, found.inputs[:1]), image)


def test_importance_of_a_residual_block(case: Any) -> None:
    found = case("residual")
    model = found.model
    got = make_criterion("nisp:scaling=none").scores(model, found.groups, found.batches)
    head = model.head.weight.detach().abs().sum(0)
    scales = [
        n.weight.detach().abs() / (n.running_var + n.eps).sqrt() for n in (model.bn1, model.bn2)
    ]
    inner = model.conv2.weight.detach().abs()[:, :, 0, 0].t() @ (head * scales[1])
    torch.testing.assert_close(got["conv1"], inner)
    spread = (inner * scales[0] / 16)[None, :, None, None].expand(1, 5, 4, 4)
    back = F.conv_transpose2d(spread, model.conv1.weight.detach().abs(), padding=1)
    # what conv1 brings back, and what the head does; the shortcut's share is the head's
    torch.testing.assert_close(got["stem"], back.sum((0, 2, 3)) + head)


def test_importance_does_not_look_at_signs_or_examples(case: Any) -> None:
    found = case("residual")
    flipped = copy.deepcopy(found.model)
    with torch.no_grad():
        for p in flipped.parameters():
            p.mul_(-1)
    got = [
        make_criterion("nisp").scores(m, found.groups, [(x, None)])
        for m, x in ((found.model, found.inputs), (flipped, found.inputs * 5))
    ]
    for key in got[0]:
        torch.testing.assert_close(got[0][key], got[1][key])


def test_importance_of_deep_networks_does_not_overflow() -> None:
    layers = [nn.Linear(50, 50, bias=False) for _ in range(30)]
    for layer in layers:
        nn.init.constant_(layer.weight, 2.0)  # times 100 a layer: beyond float32
    model = nn.Sequential(*layers)
    units = tuple((i,) for i in range(50))
    group = ChannelGroup("0", 50, (Member("0", "out", units), Member("1", "in", units)))
    got = make_criterion("nisp").scores(model, [group], [(normal(1, 50), None)])["0"]
    torch.testing.assert_close(got, torch.ones(50))


@pytest.mark.parametrize("stride", [1, 2])
def test_max_pooling_spreads_importance_evenly(stride: int) -> None:
    x = normal(1, 2, 4, 4)
    got = carried("importance", lambda t: F.max_pool2d(t, 2, stride), x)
    expected = torch.zeros_like(x)
    size = 2 if stride == 2 else 3
    for i in range(size):
        for j in range(size):
            expected[:, :, stride * i : stride * i + 2, stride * j : stride * j + 2] += 0.25
    torch.testing.assert_close(got, expected)
    adaptive = carried("importance", nn.AdaptiveMaxPool2d(1), x)
    torch.testing.assert_close(adaptive, torch.full_like(x, 1 / 16))


def test_importance_of_sums_and_products() -> None:
    x, c = normal(2, 3), normal(2, 3, seed=1)
    cases: list[tuple[Callable[[Tensor], Tensor], Tensor]] = [
        (lambda t: t - 2 * t, torch.full_like(x, 3.0)),
        (lambda t: 1 - t, torch.ones_like(x)),
        (lambda t: torch.add(t, t, alpha=-3), torch.full_like(x, 4.0)),
        (lambda t: t * c, c.abs()),
        (lambda t: -2 * t / c, 2 / c.abs()),
        (lambda t: t * torch.tanh(t), x.abs() + x.tanh().abs()),
        (lambda t: torch.cat([t, t[:, :1]], 1), torch.tensor([[2.0, 1, 1]] * 2)),
        (lambda t: t + t.mean(1, keepdim=True), torch.full_like(x, 2.0)),
        (lambda t: t.clone().add_(other=t), torch.full_like(x, 2.0)),
    ]
    for function, expected in cases:
        torch.testing.assert_close(carried("importance", function, x), expected)


def test_importance_of_layer_norm_and_of_norm_on_the_batch() -> None:
    x = normal(3, 4)
    norm = nn.LayerNorm(4)
    nn.init.uniform_(norm.weight, -1, 1, generator=torch.Generator().manual_seed(0))
    scale = norm.weight.detach().abs() / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(carried("importance", norm, x), scale)
    free = nn.BatchNorm1d(4, track_running_stats=False, affine=False).eval()
    scale = (x.var(0, unbiased=False) + 1e-5).rsqrt().expand(3, 4)
    torch.testing.assert_close(carried("importance", free, x), scale)


# ---- relevance


def z_plus(weight: Tensor, a: Tensor, arriving: Tensor) -> Tensor:
    """R_i = sum_j (a_i w_ji)^+ / sum_k (a_k w_jk)^+ R_j, in loops."""
    found = torch.zeros_like(a)
    for j in range(len(weight)):
        shares = (a * weight[j]).clamp(min=0)
        if float(shares.sum()) > 0:
            found += shares / shares.sum() * arriving[j]
    return found


def test_relevance_of_an_mlp_in_loops() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    model.requires_grad_(False)
    x = normal(1, 3)
    first, second = model[:2](x)[0], model[:4](x)[0]
    start = model(x)[0]
    there = z_plus(model[4].weight, second, start)
    expected = z_plus(model[0].weight, x[0], z_plus(model[2].weight, first, there))
    torch.testing.assert_close(carried("relevance", model, x)[0], expected)
    units = tuple((i,) for i in range(6))
    group = ChannelGroup("0", 6, (Member("0", "out", units), Member("2", "in", units)))
    for label in (0, 1):
        seed = torch.zeros(2)
        seed[label] = start[label].abs()
        got = make_criterion("lrp").scores(model, [group], [(x, torch.tensor([label]))])["0"]
        wanted = z_plus(model[2].weight, first, z_plus(model[4].weight, second, seed))
        torch.testing.assert_close(got, wanted)


def test_relevance_of_a_convolution_is_that_of_its_matrix() -> None:
    conv = nn.Conv2d(2, 3, 2, bias=False).requires_grad_(False)
    x = normal(1, 2, 3, 3)
    eye = torch.eye(18).reshape(18, 2, 3, 3)
    matrix = conv(eye).flatten(1).t()
    expected = z_plus(matrix, x.flatten(), conv(x).flatten())
    torch.testing.assert_close(carried("relevance", conv, x).flatten(), expected)


@pytest.mark.parametrize("name", ["mlp", "chain", "residual", "depthwise", "flatten"])
def test_relevance_is_conserved(name: str, case: Any) -> None:
    """Without biases and shifts all that starts at positive outputs arrives at the inputs."""
    found = case(name)
    model = found.model
    without_biases(model)
    y = model(found.inputs).detach().clamp(min=0)
    got = carried("relevance", model, found.inputs, y)
    assert float(y.sum()) > 0
    torch.testing.assert_close(got.flatten(1).sum(1), y.sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "chain", "flatten"])
def test_relevance_is_conserved_in_every_layer(name: str, case: Any) -> None:
    found = case(name)
    without_biases(found.model)
    y = found.model(found.inputs).detach()
    labels = y.argmax(1)
    right = y.amax(1) > 0
    batches = [(found.inputs[right], labels[right])]
    assert bool(right.any())
    for value in make_criterion("lrp").scores(found.model, found.groups, batches).values():
        torch.testing.assert_close(value.sum(), y.amax(1)[right].mean())


def test_biases_get_no_relevance() -> None:
    model = nn.Linear(2, 1).requires_grad_(False)
    model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    model.bias.fill_(100.0)
    got = carried("relevance", model, torch.tensor([[3.0, 1.0]]), torch.ones(1, 1))
    assert got[0].tolist() == pytest.approx([0.6, 0.4])
    nothing = carried("relevance", model, torch.tensor([[-3.0, -1.0]]), torch.ones(1, 1))
    assert nothing[0].tolist() == [0, 0]  # nothing contributes: what arrives is lost


def without_biases(model: nn.Module) -> None:
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith(("bias", "running_mean")):
                tensor.zero_()


@pytest.mark.parametrize("kind", ["conv", "linear", "transposed"])
def test_a_batch_norm_is_folded(kind: str) -> None:
    """Also where its gain is negative: then negative contributions count."""
    layer: Any
    if kind == "conv":
        layer, norm, x = nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), normal(2, 2, 3, 3)
    elif kind == "linear":
        layer, norm, x = nn.Linear(3, 4), nn.BatchNorm1d(4), normal(2, 3)
    else:
        layer, norm, x = nn.ConvTranspose2d(2, 4, 2), nn.BatchNorm2d(4), normal(2, 2, 3, 3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, -0.1]))
        norm.running_var.copy_(torch.tensor([1.0, 0.5, 2.0, 3.0]))
    model = nn.Sequential(layer, norm).eval()
    folded = copy.deepcopy(layer)
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        axis = 1 if kind == "transposed" else 0
        shape = [1] * folded.weight.dim()
        shape[axis] = -1
        folded.weight.mul_(scale.reshape(shape))
    seeds = model(x).detach().abs()
    got = carried("relevance", model, x, seeds)
    torch.testing.assert_close(got, carried("relevance", folded, x, seeds))
    plain = carried("relevance", layer, x, seeds)
    assert not torch.allclose(got, plain)


def test_a_norm_elsewhere_passes_on() -> None:
    x, seeds = normal(2, 4, 3), normal(2, 4, 3, seed=1)
    for model in (nn.BatchNorm1d(4).eval(), nn.LayerNorm(3), nn.GroupNorm(2, 4)):
        assert torch.equal(carried("relevance", model, x, seeds), seeds)
    # a linear layer on tokens: the norm's channels are not its outputs
    tokens = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(4)).eval()
    expected = carried("relevance", tokens[0], x, seeds)
    torch.testing.assert_close(carried("relevance", tokens, x, seeds), expected)


def test_relevance_of_sums_pools_and_products() -> None:
    x = torch.tensor([[3.0, -1.0, 2.0, 0.0]])
    other = torch.tensor([1.0, 3.0, -1.0, 0.0])
    ones = torch.ones(1, 4)

    def skip(t: Tensor) -> Tensor:
        return t + F.relu(t)  # 6 = 3 + 3; -1 = -1 + 0; 4; 0 = 0 + 0 loses what arrives

    def weighed(t: Tensor) -> Tensor:
        a, b = t[:, :2], t[:, 2:]
        return a - b  # 3 - 2: only 3 has its sign; -1 - 0: only -1

    cases: list[tuple[Callable[[Tensor], Tensor], Tensor, list[float]]] = [
        (skip, ones, [1, 1, 1, 0]),
        (weighed, torch.tensor([[1.0, 1.0]]), [1, 1, 0, 0]),
        (lambda t: t + other, ones, [1, 1, 1, 1]),  # constants are biases
        (lambda t: t.mean(1, keepdim=True), torch.ones(1, 1), [0.6, 0, 0.4, 0]),
        (lambda t: -1 * t.mean(1, keepdim=True), torch.ones(1, 1), [0.6, 0, 0.4, 0]),
        (lambda t: F.avg_pool1d(t[:, None], 2)[:, 0], torch.ones(1, 2), [1, 0, 1, 0]),
        (lambda t: F.max_pool1d(t[:, None], 4)[:, 0], torch.ones(1, 1), [1, 0, 0, 0]),
        (lambda t: t * torch.sigmoid(t[:, :1]), ones, [1, 1, 1, 1]),  # a gate gets nothing
        (lambda t: t * torch.sigmoid(t), ones, [1, 1, 1, 1]),
        (lambda t: t / 5, ones, [1, 1, 1, 1]),
    ]
    for function, seeds, expected in cases:
        got = carried("relevance", function, x, seeds)
        assert got[0].tolist() == pytest.approx(expected)


def test_functions_and_modules_are_one(case: Any) -> None:
    modules = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                            nn.Dropout(), nn.Flatten(), nn.Linear(3, 2)).eval()  # fmt: skip

    def functions(x: Tensor) -> Tensor:
        conv, linear = modules[0], modules[5]
        x = torch.relu_(F.conv2d(x, conv.weight, conv.bias))
        x = F.dropout(F.max_pool2d(x, kernel_size=2), 0.5, False)
        found: Tensor = F.linear(torch.flatten(x, 1), linear.weight, linear.bias)
        return found

    x = normal(2, 2, 4, 4)
    modules.requires_grad_(False)
    for kind in MODES:
        assert torch.equal(carried(kind, modules, x), carried(kind, functions, x))


@pytest.mark.parametrize("kind", MODES)
def test_attention_of_torch_and_its_replacement_are_one(kind: str) -> None:
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(6, 2, batch_first=True).eval().requires_grad_(False)
    plain.in_proj_weight[12:].abs_()  # so that something contributes to every value
    plain.out_proj.weight.abs_()
    split = HeadAttention.of(plain)
    assert split is not None
    split.requires_grad_(False)
    x = normal(2, 3, 6).abs()
    got = carried(kind, lambda t: plain(t, t, t, need_weights=False)[0], x)
    torch.testing.assert_close(got, carried(kind, lambda t: split(t)[0], x))
    assert float(got.abs().sum()) > 0
    if kind == "relevance":
        torch.testing.assert_close(got.sum((1, 2)), split(x)[0].sum((1, 2)), rtol=1e-3, atol=1e-4)


UNKNOWN: list[tuple[Callable[[Tensor], Tensor], str, tuple[str, ...]]] = [
    (lambda t: torch.softmax(t, 1), "'softmax'", ("importance", "relevance")),
    (lambda t: torch.sin(t), "'sin'", ("importance", "relevance")),
    (lambda t: 1 / t, "'__rdiv__'", ("importance",)),
    (lambda t: t / t, "division by something computed", ("importance",)),
    (lambda t: F.max_pool1d(t[:, None], 2, 1, 0, 2)[:, 0], "dilation 1", ("importance",)),
]


@pytest.mark.parametrize(("function", "words", "kinds"), UNKNOWN)
def test_operations_without_a_rule(
    function: Callable[[Tensor], Tensor], words: str, kinds: tuple[str, ...]
) -> None:
    for kind in kinds:
        with pytest.raises(LayerError, match=f"{words}.*taylor|taylor.*{words}"):
            carried(kind, function, normal(1, 4))


def test_attention_with_a_mask_has_no_rule() -> None:
    attention = nn.MultiheadAttention(4, 2).eval().requires_grad_(False)
    mask = torch.zeros(3, 3)
    with pytest.raises(LayerError, match="a mask"):
        carried("relevance", lambda t: attention(t, t, t, attn_mask=mask)[0], normal(3, 1, 4))


def test_a_network_without_a_rule_says_so_through_the_criterion(case: Any) -> None:
    found = case("mlp")
    model = nn.Sequential(*found.model, nn.Softmax(1))
    for name, what in (("nisp", "NISP"), ("lrp", "LRP")):
        with pytest.raises(LayerError, match=f"{what} has no rule for the operation 'softmax'"):
            make_criterion(name).scores(model, found.groups, found.batches)
    make_criterion("taylor").scores(model, found.groups, found.batches)
