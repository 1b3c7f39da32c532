"""Which weights and inputs belong to which unit: against what the modules compute."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autocomp.compression.saliency.scaling import output_shapes
from autocomp.compression.saliency.units import (
    Seat,
    by_place,
    consumers,
    depthwise,
    norms,
    producers,
    unit_macs,
    unit_parameters,
)
from autocomp.compression.structure.groups import ChannelGroup, Member
from autocomp.errors import LayerError

LAYERS = {
    "conv": nn.Conv2d(6, 4, 3),
    "conv1d": nn.Conv1d(6, 4, 2),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6),
    "transposed": nn.ConvTranspose2d(6, 4, 3),
    "transposed grouped": nn.ConvTranspose2d(6, 4, 3, groups=2),
    "linear": nn.Linear(6, 4),
}


def inputs_for(module: nn.Module) -> Tensor:
    dims = {nn.Linear: 0, nn.Conv1d: 1}.get(type(module), 2)
    return torch.randn(2, 6, *[4] * dims, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LAYERS)
def test_rows_are_what_makes_an_output(name: str) -> None:
    module: Any = copy.deepcopy(LAYERS[name])
    module.requires_grad_(False)
    x = inputs_for(module)
    numbers = torch.arange(module.weight.numel()).reshape(module.weight.shape)
    rows = by_place(module, "out", numbers)
    outputs = module(x).shape[1]
    assert len(rows) == outputs and rows.numel() == module.weight.numel()
    for place in range(outputs):
        changed = copy.deepcopy(module)
        with torch.no_grad():
            changed.weight.view(-1)[rows[place]] = 0
            changed.bias.zero_()
        outside = [o for o in range(outputs) if o != place]
        bias = module.bias.reshape(-1, *[1] * (x.dim() - 2))
        assert float(changed(x)[:, place].abs().max()) == 0
        torch.testing.assert_close(changed(x)[:, outside], (module(x) - bias)[:, outside])


@pytest.mark.parametrize("name", LAYERS)
def test_columns_are_what_reads_an_input(name: str) -> None:
    module: Any = copy.deepcopy(LAYERS[name])
    module.requires_grad_(False)
    x = inputs_for(module)
    numbers = torch.arange(module.weight.numel()).reshape(module.weight.shape)
    columns = by_place(module, "in", numbers)
    assert len(columns) == 6 and columns.numel() == module.weight.numel()
    for place in range(6):
        changed, without = copy.deepcopy(module), x.clone()
        without[:, place] = 0
        with torch.no_grad():
            changed.weight.view(-1)[columns[place]] = 0
        torch.testing.assert_close(changed(x), module(without))


def test_embeddings_and_norms() -> None:
    embedding = nn.Embedding(5, 3)
    assert torch.equal(by_place(embedding, "out", embedding.weight), embedding.weight.t())
    norm = nn.BatchNorm2d(4)
    assert by_place(norm, "side", norm.weight).shape == (4, 1)


def test_units_with_several_places_and_units_that_are_absent() -> None:
    places = ((0, 3), (), (1, 2))
    found = Seat.of(ChannelGroup("g", 3, ()), Member("m", "in", places))
    assert found.units == (0, 2) and found.places == ((0, 3), (1, 2))
    linear = nn.Linear(4, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
    assert found.weights(linear, linear.weight).tolist() == [[1, 5, 4, 8], [2, 6, 3, 7]]
    tokens = torch.arange(8.0).reshape(1, 2, 4)  # (n, tokens, features)
    assert found.inputs(linear, tokens).tolist() == [[[0, 4, 3, 7], [1, 5, 2, 6]]]
    conv = nn.Conv2d(4, 1, 1)
    image = torch.arange(8.0).reshape(1, 4, 1, 2)
    assert found.inputs(conv, image).tolist() == [[[0, 1, 6, 7], [2, 3, 4, 5]]]


@pytest.mark.parametrize("places", [((0,), (1, 2)), ((), ()), ((0,),)])
def test_units_must_be_alike(places: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(LayerError, match="Every unit of group 'g'.*'m'"):
        Seat.of(ChannelGroup("g", 2, ()), Member("m", "in", places))


def test_depthwise_convolutions_are_makers_not_readers(case: Any) -> None:
    found = case("depthwise")
    group = found.groups[0]
    assert [s.module for s in producers(found.model, group)] == ["0", "2"]
    assert [s.module for s in consumers(found.model, group)] == ["4"]
    assert depthwise(found.model[2]) and not depthwise(found.model[4])
    assert not depthwise(nn.Conv2d(1, 1, 1)) and not depthwise(nn.Conv2d(2, 4, 1, groups=2))
    only = ChannelGroup("0", 4, group.members[:3])
    assert [s.module for s in consumers(found.model, only)] == ["2"]


def test_norms_without_gain_are_left_out(case: Any) -> None:
    found = case("chain")
    assert [s.module for s in norms(found.model, found.groups[0])] == ["1"]
    found.model[1] = nn.BatchNorm2d(4, affine=False)
    assert norms(found.model, found.groups[0]) == []


def test_parameters_and_macs_of_a_unit(case: Any) -> None:
    found = case("chain")
    shapes = output_shapes(found.model, found.groups, found.batches)
    first, second = found.groups
    # 2*3*3 weights, gain and shift, 6*3*3 weights that read it
    assert unit_parameters(found.model, first).tolist() == [18 + 2 + 54] * 4
    # 5*5 outputs, then 3*3 outputs
    assert unit_macs(found.model, first, shapes).tolist() == [25 * 18 + 9 * 54] * 4
    assert unit_parameters(found.model, second).tolist() == [36 + 1 + 3] * 6
    assert unit_macs(found.model, second, shapes).tolist() == [9 * 36 + 3] * 6
    found = case("depthwise")
    shapes = output_shapes(found.model, found.groups, found.batches)
    assert unit_parameters(found.model, found.groups[0]).tolist() == [2 + 1 + 9 + 1 + 3] * 4
    assert unit_macs(found.model, found.groups[0], shapes).tolist() == [16 * (2 + 9 + 3)] * 4
    found = case("flatten")
    shapes = output_shapes(found.model, found.groups, found.batches)
    assert unit_parameters(found.model, found.groups[0]).tolist() == [9 + 1 + 4 * 3] * 3
    assert unit_macs(found.model, found.groups[0], shapes).tolist() == [16 * 9 + 12] * 3
