"""Geometry: read off real layers, and checked against what PyTorch does with them."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autocomp.costs.latency import Geometry
from autocomp.costs.latency.geometry import MOST_OTHERS
from autocomp.errors import LayerError
from autocomp.network.analysis import analyse

DENSE = Geometry("linear", 12, 20, (1,))


def geometries(model: nn.Module, example: torch.Tensor, **options: int) -> list[Geometry]:
    network = analyse(model, example)
    return [
        Geometry.of(x, model.get_submodule(x.parameter.rpartition(".")[0]), **options)
        for x in network.layers
    ]


def test_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 2), (1, 2), groups=2, bias=False))
    assert geometries(model, torch.rand(3, 6, 9, 11), batch=5) == [
        Geometry(
            "conv", 6, 4, (9, 11), (3, 5), (2, 1), (1, 2), (1, 2, 1, 2), groups=2, bias=False,
            batch=5,
        )
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_padding_in_words() -> None:
    """`same` puts the odd zero behind, as PyTorch does."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, (4, 3), padding="same", dilation=(1, 2)),
        nn.Conv2d(2, 1, 3, padding="valid"),
    )
    same, valid = geometries(model, torch.rand(1, 1, 8, 8))
    assert same.padding == (1, 2, 2, 2) and valid.padding == (0, 0, 0, 0)
    x, conv = torch.rand(1, 1, 8, 8), model[0]
    padded = nn.functional.pad(x, (2, 2, 1, 2))  # last axis first
    bare = nn.functional.conv2d(padded, conv.weight, conv.bias, dilation=conv.dilation)
    torch.testing.assert_close(bare, conv(x))


def test_a_transposed_convolution() -> None:
    model = nn.Sequential(nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2))
    assert geometries(model, torch.rand(1, 4, 7)) == [
        Geometry("transposed", 4, 6, (7,), (3,), (2,), (1,), (1, 1), (1,), groups=2)
    ]


def test_vectors_of_linear_layers_and_attention() -> None:
    class Tokens(nn.Module):
        def __init__(self, batch_first: bool) -> None:
            super().__init__()
            self.inner = nn.Linear(8, 16, bias=False)
            self.outer = nn.Linear(16, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
            self.head = nn.Linear(8, 3)
            self.batch_first = batch_first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.outer(self.inner(x))
            x = x if self.batch_first else x.transpose(0, 1)
            x = self.attention(x, x, x)[0]
            out: torch.Tensor = self.head(x.mean(1 if self.batch_first else 0))
            return out

    for batch_first in (True, False):
        assert geometries(Tokens(batch_first), torch.rand(2, 5, 8)) == [
            Geometry("linear", 8, 16, (5,), bias=False),
            Geometry("linear", 16, 8, (5,)),
            Geometry("linear", 8, 24, (5,)),
            Geometry("linear", 8, 8, (5,)),
            Geometry("linear", 8, 3, (1,)),
        ]


def test_what_cannot_be_measured_says_why() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.dead = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.embedding(x)
            return out

    model = Odd()
    network = analyse(model, torch.zeros(2, 3, dtype=torch.long))
    (embedding,), (dead,) = network.layers, network.frozen
    with pytest.raises(LayerError, match="'embedding' is of kind 'embedding'"):
        Geometry.of(embedding, model.embedding)
    with pytest.raises(LayerError, match="'dead' must run to be measured"):
        Geometry.of(dead, model.dead)
    bare = nn.Sequential(nn.Conv1d(3, 2, 1))  # (channels, length) is an example without a batch
    layer = analyse(bare, torch.rand(3, 7)).layers[0]
    with pytest.raises(LayerError, match=r"one example has shape \(7,\)"):
        Geometry.of(layer, bare[0])


def test_other_weights_are_rounded_down_to_a_power_of_two() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for given_bytes, kept in [(0, 0), (1, 1), (1023, 512), (1024, 1024), (1 << 40, MOST_OTHERS)]:
        assert geometries(model, torch.rand(1, 2), others=given_bytes)[0].others == kept


def test_json_round_trip_and_key() -> None:
    one = Geometry("conv", 6, 4, (9, 11), (3, 5), (2, 1), (1, 2), (1, 2, 1, 2), groups=2, batch=3)
    again = Geometry.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one and hash(again) == hash(one) and again.key == one.key
    assert json.loads(one.key) == json.loads(json.dumps(one.to_json()))
    assert one.key != Geometry.from_json({**one.to_json(), "bias": False}).key
    with pytest.raises(LayerError, match="A geometry has the fields"):
        Geometry.from_json({"kind": "conv", "width": 3})


def test_impossible_geometries() -> None:
    with pytest.raises(LayerError, match="at least 1"):
        Geometry("linear", 0, 4, (1,))
    with pytest.raises(LayerError, match="4 groups for 8 -> 6"):
        Geometry("conv", 8, 6, (3,), (1,), (1,), (1,), (0, 0), groups=4)


def test_channels_of_plain_grouped_and_depthwise_layers() -> None:
    assert DENSE.with_channels(5, 7) == Geometry("linear", 5, 7, (1,))
    shape = {"spatial": (4,), "kernel": (3,), "stride": (1,), "dilation": (1,), "padding": (1, 1)}
    grouped = Geometry("conv", 12, 8, groups=4, **shape)  # type: ignore[arg-type]
    assert not grouped.is_depthwise and not DENSE.is_depthwise
    assert grouped.with_channels(5, 4) == Geometry("conv", 8, 4, groups=4, **shape)  # type: ignore[arg-type]
    depthwise = Geometry("conv", 6, 12, groups=6, **shape)  # type: ignore[arg-type]
    assert depthwise.is_depthwise
    assert depthwise.with_channels(2, 9) == Geometry("conv", 2, 4, groups=2, **shape)  # type: ignore[arg-type]


@given(st.integers(-2, 15), st.integers(-2, 25))
def test_channels_out_of_range(inputs: int, outputs: int) -> None:
    if 1 <= inputs <= 12 and 1 <= outputs <= 20:
        assert DENSE.with_channels(inputs, outputs).inputs == inputs
        return
    with pytest.raises(LayerError, match=f"got {inputs} -> {outputs}"):
        DENSE.with_channels(inputs, outputs)
