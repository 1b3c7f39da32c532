"""Slicing is masking, nothing is changed in place, and heads are what attention computes."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.heads import HeadAttention, with_heads
from autocomp.compression.structure.shapes import readers, sliced_spec
from autocomp.compression.structure.surgery import (
    mask_units,
    masked,
    places,
    put_back,
    slice_units,
    sliced,
)
from autocomp.network.analysis import analyse


def run(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = model(x)
    return out


def test_slicing_is_masking(drawn: Any, hooked: Any) -> None:
    case, seed = drawn
    groups, kept = case.found.groups, case.kept(seed)
    before = copy.deepcopy(case.model.state_dict())
    small = sliced(case.model, groups, kept)
    found, wanted = run(small, case.x), hooked(case.model, groups, kept, case.x)
    size = float(wanted.abs().max())
    assert size > 1e-3  # the mask has not silenced the network
    assert float((found - wanted).abs().max()) <= 1e-5 * max(size, 1)
    zeroed = run(masked(case.model, groups, kept), case.x)
    assert float((found - zeroed).abs().max()) <= 1e-5 * max(size, 1)
    assert sum(p.numel() for p in small.parameters()) < sum(
        p.numel() for p in case.model.parameters()
    )
    for name, tensor in case.model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("change", [slice_units, mask_units])
def test_what_is_taken_out_for_a_while_is_put_back(drawn: Any, change: Any, fails: bool) -> None:
    case, seed = drawn
    groups, kept = case.found.groups, case.kept(seed)
    made = sliced if change is slice_units else masked
    wanted, before = run(made(case.model, groups, kept), case.x), run(case.model, case.x)
    state = {k: (v, v.clone()) for k, v in case.model.state_dict(keep_vars=True).items()}
    texts = str(case.model)
    with contextlib.suppress(ZeroDivisionError), put_back(case.model, groups):
        change(case.model, groups, kept)
        assert torch.equal(run(case.model, case.x), wanted)
        if fails:
            raise ZeroDivisionError
    assert str(case.model) == texts and torch.equal(run(case.model, case.x), before)
    after = case.model.state_dict(keep_vars=True)
    assert list(after) == list(state)
    for name, (same, equal) in state.items():
        assert after[name] is same and torch.equal(same, equal)


def test_nothing_is_gone_if_all_stay(case: Any) -> None:
    whole = {group.name: list(range(group.units)) for group in case.found.groups}
    for kept in ({}, whole):
        same = sliced(case.model, case.found.groups, kept)
        assert torch.equal(run(same, case.x), run(case.model, case.x))
        assert places(case.model, case.found.groups, kept) == {}
        for module in (same, masked(case.model, case.found.groups, kept)):
            state = module.state_dict()
            assert all(torch.equal(t, state[n]) for n, t in case.model.state_dict().items())


def test_one_unit_of_each_group_is_a_network(case: Any) -> None:
    small = sliced(case.model, case.found.groups, {g.name: [0] for g in case.found.groups})
    found = run(small, case.x)
    assert found.shape == run(case.model, case.x).shape and torch.isfinite(found).all()
    for group in case.found.groups:
        for member in group.by_role("out"):
            module: Any = small.get_submodule(member.module)
            dense: Any = case.model.get_submodule(member.module)
            axis = 1 if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)) else 0
            shares = dense.groups if axis else 1
            assert module.weight.shape[axis] * shares == len(member.channels[0])


def test_attributes_are_those_of_a_module_built_that_small(drawn: Any) -> None:
    """A state dict fits the module that its own attributes describe."""
    case, seed = drawn
    small = sliced(case.model, case.found.groups, case.kept(seed))
    for module in small.modules():
        made: nn.Module
        if isinstance(module, nn.Linear):
            made = nn.Linear(module.in_features, module.out_features, module.bias is not None)
        elif isinstance(module, nn.modules.conv._ConvNd):
            made = type(module)(  # type: ignore[call-arg]
                module.in_channels, module.out_channels, module.kernel_size, module.stride,
                groups=module.groups, bias=module.bias is not None,
            )  # fmt: skip
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            made = type(module)(module.num_features)
        elif isinstance(module, nn.PReLU):
            made = nn.PReLU(module.num_parameters)
        else:
            continue
        shapes = {name: t.shape for name, t in module.state_dict().items()}
        assert {name: t.shape for name, t in made.state_dict().items()} == shapes


def test_sliced_networks_can_be_trained(cases: Any) -> None:
    case = cases("dense")
    small = sliced(case.model, case.found.groups, case.kept(0, 0.5))
    small(case.x).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())


# ---- shapes without building


FIELDS = (
    "shape",
    "groups",
    "macs",
    "input_shape",
    "output_shape",
    "inputs",
    "outputs",
    "n_weights",
)


def test_specs_are_what_the_sliced_network_shows(drawn: Any) -> None:
    case, seed = drawn
    groups, kept = case.found.groups, case.kept(seed + 10)
    gone = {group.name: group.units - len(kept[group.name]) for group in groups}
    real = analyse(sliced(case.model, groups, kept), case.x)
    assert real.names == case.network.names
    everyone = readers(case.network.layers, groups)
    for layer, reads, wanted in zip(case.network.layers, everyone, real.layers, strict=True):
        spec = sliced_spec(layer, reads, gone)
        for field in FIELDS:
            assert getattr(spec, field) == getattr(wanted, field), (layer.name, field)
    assert all(
        sliced_spec(layer, reads, {}) is layer
        for layer, reads in zip(case.network.layers, everyone, strict=True)
    )


def test_specs_of_packed_attention(cases: Any) -> None:
    """A plan speaks of the projections of `nn.MultiheadAttention`; slices are of linear layers."""
    case = cases("vit")
    packed = analyse(case.plain, case.x)
    assert packed.names == case.network.names
    assert {x.kind for x in packed.layers} == {"attention", "conv", "linear"}
    kept = {group.name: [0, 2] for group in case.found.groups}
    gone = {group.name: group.units - 2 for group in case.found.groups}
    real = analyse(sliced(case.model, case.found.groups, kept), case.x)
    found = readers(packed.layers, case.found.groups)
    for layer, reads, wanted in zip(packed.layers, found, real.layers, strict=True):
        spec = sliced_spec(layer, reads, gone)
        assert (spec.shape, spec.macs) == (wanted.shape, wanted.macs), layer.name


# ---- attention


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_compute_what_attention_does(bias: bool, batch_first: bool) -> None:
    plain = nn.MultiheadAttention(12, 3, bias=bias, batch_first=batch_first).eval()
    if bias:
        plain.in_proj_bias.data.normal_()
        plain.out_proj.bias.data.normal_()
    made = HeadAttention.of(plain)
    assert made is not None and not made.training
    x = torch.randn(5, 4, 12)
    with torch.inference_mode():
        wanted = plain(x, x, x, need_weights=False)[0]
        found, weights = made(x, x, x)
        alone, _ = made(x)
    assert weights is None
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert torch.equal(found, alone)


def test_a_head_less_is_a_head_of_zeros() -> None:
    plain = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    made = HeadAttention.of(plain)
    assert made is not None
    x = torch.randn(2, 5, 12)
    small = HeadAttention(12, 2, 4, True, True)
    rows = [r for p in range(3) for r in range(12 * p, 12 * p + 12) if r % 12 not in range(4, 8)]
    stay = [*range(4), *range(8, 12)]
    small.in_proj.weight.data = made.in_proj.weight.data[rows]
    small.in_proj.bias.data = made.in_proj.bias.data[rows]
    small.out_proj.weight.data = made.out_proj.weight.data[:, stay]
    small.out_proj.bias.data = made.out_proj.bias.data
    plain.out_proj.weight.data[:, 4:8] = 0  # the joined heads' second part
    with torch.inference_mode():
        torch.testing.assert_close(small(x)[0], plain(x, x, x)[0], rtol=1e-5, atol=1e-6)


def test_attention_that_has_no_heads_to_take_out_is_left() -> None:
    class Odd(nn.MultiheadAttention):
        pass

    for other in (
        nn.MultiheadAttention(8, 2, kdim=4, vdim=4),
        nn.MultiheadAttention(8, 2, add_bias_kv=True),
        nn.MultiheadAttention(8, 2, add_zero_attn=True),
        Odd(8, 2),
    ):
        assert HeadAttention.of(other) is None
        assert with_heads(nn.Sequential(other)) == []
    model = nn.ModuleDict({"inner": nn.MultiheadAttention(8, 2), "other": nn.Linear(8, 8)})
    assert with_heads(model) == ["inner"] and isinstance(model["inner"], HeadAttention)
    assert with_heads(model) == []
    assert with_heads(nn.MultiheadAttention(8, 2)) == []  # nowhere to put another one


def test_only_plain_self_attention_runs() -> None:
    made = HeadAttention(8, 2, 4, True, True)
    x, y = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    with pytest.raises(NotImplementedError, match="the same tensor"):
        made(x, y, y)
    with pytest.raises(NotImplementedError, match="the same tensor"):
        made(x, x, y)
    for options in (
        {"key_padding_mask": torch.zeros(1, 3, dtype=torch.bool)},
        {"attn_mask": torch.zeros(3, 3)},
        {"is_causal": True},
    ):
        with pytest.raises(NotImplementedError, match="masks"):
            made(x, x, x, **options)


class Use(nn.Module):
    """A plain self-attention, then one that is used in some other way."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.first, self.use = nn.Linear(8, 8), use
        self.plain = nn.MultiheadAttention(8, 2, batch_first=True)
        self.odd = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        y = self.plain(y, y, y)[0]
        if self.use == "other tokens":
            y = self.odd(x, y, y)[0]
        elif self.use == "mask":
            y = self.odd(y, y, y, attn_mask=torch.eye(3, dtype=torch.bool))[0]
        else:
            y, weights = self.odd(y, y, y)
            y = y * weights.sum()
        out: torch.Tensor = self.last(y.mean(1))
        return out


@pytest.mark.parametrize("use", ["other tokens", "mask", "weights"])
def test_attention_that_is_used_otherwise_stays_as_it_is(use: str) -> None:
    model = Use(use).eval()
    x = torch.randn(2, 3, 8)
    wanted, odd = run(model, x), model.odd
    assert with_heads(copy.deepcopy(model)) == ["plain", "odd"]  # nobody looked
    assert with_heads(model, x) == ["plain"] and model.odd is odd
    torch.testing.assert_close(run(model, x), wanted, rtol=1e-5, atol=1e-6)
    found = find_groups(model, analyse(model, x), x)
    assert [group.name for group in found.groups] == ["first", "plain.in_proj"]
    assert "'odd' (MultiheadAttention), which is left whole" in found.skipped["plain.out_proj"]
    kept = {"first": [0, 3, 5], "plain.in_proj": [1]}
    small = run(sliced(model, found.groups, kept), x)
    torch.testing.assert_close(small, run(masked(model, found.groups, kept), x))


def test_torchs_own_encoder_layer_keeps_its_heads_and_loses_neurons() -> None:
    """In evaluation mode it reads its attention's weights itself, so that none can replace it."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.last = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(self.layer(x).mean(1))
            return out

    model = Encoder().eval()
    x = torch.randn(3, 5, 8)
    assert with_heads(model, x) == []
    groups = find_groups(model, analyse(model, x), x).groups
    assert [(group.name, group.units) for group in groups] == [("layer.linear1", 16)]
    kept = {"layer.linear1": [0, 5, 9]}
    found = run(sliced(model, groups, kept), x)
    torch.testing.assert_close(found, run(masked(model, groups, kept), x))
