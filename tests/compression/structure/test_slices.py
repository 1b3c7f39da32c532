"""What a sliced layer inherits from the dense one: moments, and the order of pruning."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from autocomp.search_spaces import feasible_space
from torch import Tensor, nn

from autocomp.compression.calibration.moments import input_moments
from autocomp.compression.recovery.layout import Layout
from autocomp.compression.structure.find import find_groups
from autocomp.compression.structure.slices import InheritingPruner, Slice, sliced_gram
from autocomp.compression.structure.surgery import places, sliced
from autocomp.core.choice import Choice
from autocomp.core.quantized import Quantized
from autocomp.data.splits import DataSplits
from autocomp.network.analysis import analyse
from autocomp.problem.problem import CompressionProblem, ProblemSettings


class Every(nn.Module):
    """A depthwise, a plain, a grouped and a transposed convolution, and a flattened input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.plain = nn.Conv2d(8, 6, 3)
        self.grouped = nn.Conv2d(6, 6, 2, groups=3)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.flat = nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.plain(torch.relu(self.depth(torch.relu(self.stem(x))))))
        x = torch.relu(self.up(torch.relu(self.grouped(x))))
        out: Tensor = self.flat(x.flatten(1))
        return out


@pytest.mark.parametrize("group", ["stem", "plain", "grouped", "up"])
def test_moments_that_are_cut_are_those_of_the_inputs_that_are_left(group: str) -> None:
    """One group loses units, unrepaired, so that what its readers still get is unchanged."""
    model, x = Every().eval(), torch.randn(20, 3, 8, 8)
    network = analyse(model, x)
    groups = find_groups(model, network, x).groups
    units = next(g.units for g in groups if g.name == group)
    kept = {group: [1, units - 1] if units > 2 else [1]}
    small = sliced(model, groups, kept)
    after, stay = analyse(small, x), places(model, groups, kept)
    dense, seen = input_moments(model, network, [x]), input_moments(small, after, [x])
    members = {m.module for g in groups if g.name == group for m in g.members}
    checked = set()
    for before, layer in zip(network.layers, after.layers, strict=True):
        cut = Slice(before, layer, *stay.get(layer.name, (None, None)))
        found = sliced_gram(dense[layer.name], cut)
        if layer.name in members:
            module: Any = model.get_submodule(layer.name)
            if found is None:
                assert layer.groups > 1  # its blocks do not allow it: seen anew
                continue
            assert found.layout == Layout.of(layer) and found.centred == (module.bias is not None)
            torch.testing.assert_close(found.second, seen[layer.name].second, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.mean, seen[layer.name].mean, rtol=1e-4, atol=1e-5)
            assert found.count == seen[layer.name].count
            checked.add(layer.name)
            weight = cut.cut(module.weight.detach())
            assert weight is not None
            torch.testing.assert_close(weight, small.get_parameter(layer.parameter).detach())
    assert checked == {
        "stem": {"stem", "depth", "plain"}, "plain": {"plain"}, "grouped": {"up"},
        "up": {"up", "flat"},
    }[group]  # fmt: skip


def test_wide_inputs_are_seen_anew() -> None:
    """A matrix that was cut into blocks says nothing of inputs across them."""
    model, x = nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 3)), torch.randn(9, 4)
    network = analyse(model, x)
    groups = find_groups(model, network, x).groups
    kept = {"0": list(range(20))}
    after = analyse(sliced(model, groups, kept), x)
    whole = input_moments(model, network, [x])["2"]
    blocks = input_moments(model, network, [x], limit=16)["2"]
    cut = Slice(network.layers[1], after.layers[1], None, list(range(20)))
    assert whole.is_whole and not blocks.is_whole
    assert sliced_gram(whole, cut) is not None and sliced_gram(blocks, cut) is None


@pytest.fixture(scope="module")
def problem(_trained_tiny: Any, tiny_data: DataSplits) -> CompressionProblem:
    found = CompressionProblem(
        copy.deepcopy(_trained_tiny), tiny_data, "size=30%", ProblemSettings(search_images=16)
    )
    # makes the tables
    feasible_space(found, "full:levels=10,highest=0.9,channel_levels=3,weight_bits=4/8")
    return found


@pytest.mark.parametrize("sparsity", [0.1, 0.45, 0.8])
def test_weights_go_in_the_order_of_the_dense_layer(
    problem: CompressionProblem, sparsity: float
) -> None:
    """What survives in more of the dense options is never pruned before what survives in fewer."""
    choice = Choice.of(sparsity=sparsity, weight_bits=8)
    plan = problem.network.neutral_plan().replace("0", Choice.of(channels=0.5))
    subnet = problem.subnets.of(plan)
    assert isinstance(subnet.store.pipeline.pruner, InheritingPruner)
    stay = problem.subnets.kept(plan)["0"]
    for name in ("0", "3", "6"):
        before, layer = problem.network.layer(name), subnet.network.layer(name)
        total = torch.zeros(before.shape)
        for option in problem.store.menu(before):
            if option.weights.bits == 8 and option.weights.sparsity:
                dense = problem.store.weight(before, option)
                assert isinstance(dense, Quantized)
                total += dense.codes != 0
        rank = total[:, list(stay)] if name == "6" else total[list(stay)]
        assert rank.shape == layer.shape and len(rank.unique()) > 3
        found = subnet.store.weight(layer, Choice.of(sparsity=sparsity))
        assert isinstance(found, Tensor)
        assert int((found == 0).sum()) == layer.zeros(choice)
        pruned = found == 0
        assert rank[pruned].max() <= rank[~pruned].min()
