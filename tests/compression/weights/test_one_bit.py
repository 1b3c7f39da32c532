"""Weights of one bit: signs times a scale."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import autocomp
from autocomp.compression.recovery.gram import Gram
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.saving import are_signs
from autocomp.compression.weights import COMPRESSORS
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.core.quantized import Quantized
from autocomp.data import DataSplits, Split
from autocomp.errors import ChoiceError
from autocomp.problem.problem import CompressionProblem
from autocomp.testing.layers import KINDS, statistics_of, weight_of
from autocomp.training.coded_weight import CodedWeight

ONE = Choice.of(weight_bits=1)
QUANTIZERS = ("gptq", "adaround", "symmetric", "symmetric-tensor")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_weight_is_one_of_two_values_of_its_channel(name: str, kind: str) -> None:
    stats = statistics_of(kind)
    weight = weight_of(stats, torch.float32)
    weight = torch.where(weight == 0, torch.full_like(weight, -0.01), weight)
    found = COMPRESSORS[name]().quantize(weight, ONE, stats)
    assert set(found.codes.unique().tolist()) == {-1, 1}
    pruned = weight * (torch.arange(weight.numel()).reshape(weight.shape) % 3 != 0)
    found = COMPRESSORS[name]().quantize(pruned, ONE, stats)
    assert torch.equal(found.codes == 0, pruned == 0)  # zeros stay, and no others come
    assert int(found.codes.abs().max()) == 1


def test_without_moments_the_scale_is_the_mean_magnitude() -> None:
    """XNOR-Net's: the least squared error of s sign(w) is at s = mean |w|, here on the grid."""
    weight = torch.randn(6, 400, generator=torch.Generator().manual_seed(0))
    stats = statistics_of((6, 400))
    found = COMPRESSORS["symmetric"]().quantize(weight, ONE, stats)
    assert torch.equal(found.codes.float(), weight.sign())
    # a step of the grid is 2^(1/8)
    ratio = (found.scale[:, 0] / weight.abs().mean(1)).log2().abs()
    assert bool((ratio <= 1 / 16 + 1e-3).all())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_compensated_signs_are_near_the_best_of_all(seed: int) -> None:
    """Against all 2^6 sign patterns at the scale that was chosen."""
    generator = torch.Generator().manual_seed(seed)
    stats = statistics_of((1, 6))
    weight = torch.randn(1, 6, generator=generator)
    inputs = torch.randn(60, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    moment = (inputs.T @ inputs / 60).double()
    gram = Gram(Layout.of(stats.layer), moment[None], torch.zeros(1, 6, dtype=torch.float64), 60)
    found = COMPRESSORS["gptq"]().quantize(weight, ONE, replace(stats, gram=gram))
    step = found.scale.double()

    def error(codes: Tensor) -> float:
        gap = codes.double() * step - weight.double()
        return float((gap @ moment * gap).sum())

    best = min(error(torch.tensor([c])) for c in itertools.product((-1, 1), repeat=6))
    nearest = error(weight.sign())
    assert best - 1e-9 <= error(found.codes) <= nearest + 1e-6
    assert error(found.codes) <= 2 * best + 1e-6


def test_a_plan_of_one_bit_is_written_read_trained_and_counted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    x = torch.randn(300, 32)
    y = network(x).argmax(1)
    names = ("calibration", "search", "test")
    parts = zip(x.split(100), y.split(100), names, strict=True)
    data = DataSplits("noise", *(Split.of(*part) for part in parts), n_classes=4)
    problem = CompressionProblem(network, data, "size=20%")
    plan = Plan({"0": ONE, "2": Choice.of(weight_bits=1, sparsity=0.5)})
    outcome = problem.evaluate(plan, "F2")
    model, packed = problem.compressed(plan)
    assert len(packed) <= outcome.costs["size"] <= len(packed) + 20
    assert len(packed) < 0.08 * problem.costs["size"].reference
    assert outcome.costs["bitops"] < problem.costs_of(problem.network.neutral_plan())["bitops"] / 30
    file = tmp_path / "one.safetensors"
    file.write_bytes(packed)
    again = autocomp.load(file, model=network)
    assert torch.equal(again(x), model(x))
    for name in ("0.weight", "2.weight"):
        weight = again.get_parameter(name)
        assert all(len(row[row != 0].abs().unique()) == 1 for row in weight)
    masks = {name: again.get_parameter(name) == 0 for name in ("0.weight", "2.weight")}
    signs = {name: again.get_parameter(name).sign() for name in masks}
    autocomp.trainable(again, masks="free")
    optimizer = torch.optim.Adam([p for p in again.parameters() if p.requires_grad], 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(again(x), y.roll(1)).backward()
        optimizer.step()
    autocomp.freeze(again)
    moved = 0
    for name, mask in masks.items():
        weight = again.get_parameter(name)
        assert torch.equal(weight == 0, mask)  # signs alone move
        moved += int((weight.sign() != signs[name]).sum())
    assert moved > 0
    assert torch.allclose(autocomp.load(autocomp.save(again, tmp_path / "t.safetensors"),
                                        model=network)(x), again(x), atol=1e-3)  # fmt: skip


@pytest.mark.parametrize("name", ["asymmetric", "asymmetric-tensor"])
def test_one_bit_is_symmetric(name: str) -> None:
    stats = statistics_of("linear")
    with pytest.raises(ChoiceError, match="needs a symmetric quantizer"):
        COMPRESSORS[name]().quantize(weight_of(stats), ONE, stats)


@pytest.mark.parametrize("codes", [[[1, 1, 1]], [[-1, 0, -1]], [[1, -1, 0]]])
def test_signs_are_signs_whatever_codes_a_layer_has(codes: list[list[int]]) -> None:
    stored = Quantized(torch.tensor(codes, dtype=torch.int8), torch.ones(1, 1))
    choice = Choice.of(weight_bits=1, sparsity=0.3)
    assert are_signs(stored, choice)
    form = CodedWeight(stored.codes, stored.scale, -1, 1, free=True, signs=True)
    latents = form.start(stored.codes, torch.full((1, 3), -0.3))
    assert torch.equal(form.codes(latents), stored.codes.float())
    moved = form.codes(-latents)  # training takes them across 0
    assert torch.equal(moved, -stored.codes.float())


def test_activations_have_two_bits_at_least() -> None:
    with pytest.raises(ChoiceError, match="`activation_bits` must be one of"):
        Choice.of(activation_bits=1)
    assert Quantized.largest_code(1) == 1 == Quantized.largest_code(2)
    assert [Quantized.largest_code(b) for b in (3, 8, 16)] == [3, 127, 32767]
