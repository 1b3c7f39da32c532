"""Peak activation memory, by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autocomp.costs.latency import peak_activation_bytes
from autocomp.errors import LayerError


def test_a_chain() -> None:
    """10 -> 40 -> 6 -> 50: at the last layer 6 + 50 live, at the first 10 + 40."""
    model = nn.Sequential(nn.Linear(10, 40), nn.Linear(40, 6), nn.Linear(6, 50))
    assert peak_activation_bytes(model, torch.rand(8, 10)) == 4 * 56
    model = nn.Sequential(nn.Linear(10, 40), nn.Linear(40, 6), nn.Linear(6, 30))
    assert peak_activation_bytes(model, torch.rand(8, 10)) == 4 * 50
    double = copy.deepcopy(model).double()
    assert peak_activation_bytes(double, torch.rand(8, 10).double()) == 8 * 50


def test_in_place_operators_and_views_share_memory() -> None:
    apart = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 2))
    shared = nn.Sequential(nn.Linear(3, 20), nn.ReLU(inplace=True), nn.Linear(20, 2))
    assert peak_activation_bytes(apart, torch.rand(1, 3)) == 4 * 40
    assert peak_activation_bytes(shared, torch.rand(1, 3)) == 4 * 23
    flat = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(32, 1))
    assert peak_activation_bytes(flat, torch.rand(1, 1, 4, 4)) == 4 * (16 + 32)


class Residual(nn.Module):
    """x (10) lives until the addition; inside 30."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(10, 30), nn.Linear(30, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(torch.relu(self.wide(x)))


def test_a_residual_block() -> None:
    """At the relu: x, and 30 before and after; without the shortcut x would be gone."""
    block = Residual()
    assert peak_activation_bytes(block, torch.rand(1, 10)) == 4 * (10 + 30 + 30)
    chain = nn.Sequential(block.wide, nn.ReLU(), block.narrow)
    assert peak_activation_bytes(chain, torch.rand(1, 10)) == 4 * (30 + 30)
    # the first block's x is dead in the second
    assert peak_activation_bytes(nn.Sequential(block, Residual()), torch.rand(2, 10)) == 4 * 70


class Unused(nn.Module):
    """A branch that nobody reads, and a parameter that joins."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.dead = nn.Linear(4, 8), nn.Linear(4, 1000)
        self.token = nn.Parameter(torch.zeros(1, 500))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.dead(x)
        return self.layer(x), self.token


def test_dead_results_and_parameters_take_nothing() -> None:
    assert peak_activation_bytes(Unused(), torch.rand(1, 4)) == 4 * (4 + 8)


def test_all_outputs_live_to_the_end() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 9), nn.Linear(2, 7)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": self.a(x), "b": self.b(x)}

    assert peak_activation_bytes(Two(), torch.rand(1, 2)) == 4 * (2 + 9 + 7)


def test_tokens_count_eight_bytes() -> None:
    model = nn.Embedding(5, 3)
    assert peak_activation_bytes(model, torch.zeros(2, 6, dtype=torch.long)) == 8 * 6 + 4 * 18


def test_attention_shows_its_inside() -> None:
    """At least queries, keys and values, and as much for any batch."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.attention(x, x, x, need_weights=False)[0]
            return out

    fast = torch.backends.mha.get_fastpath_enabled()
    model = Attention()
    found = peak_activation_bytes(model, torch.rand(1, 5, 8))
    assert found == peak_activation_bytes(model, torch.rand(7, 5, 8)) >= 4 * 3 * 40
    assert torch.backends.mha.get_fastpath_enabled() == fast and model.training


def test_data_that_do_not_fit() -> None:
    with pytest.raises(LayerError, match=r"a batch of shape \(1, 3\) raised RuntimeError"):
        peak_activation_bytes(nn.Linear(4, 4), torch.rand(2, 3))
