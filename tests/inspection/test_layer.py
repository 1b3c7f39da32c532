"""Layers before and after: the numbers add up to the costs of the whole plan."""

from __future__ import annotations

from typing import Any

import pytest

from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.problem.problem import CompressionProblem
from autocomp.runs.layer_result import layer_results


def test_layers_add_up_to_the_plans_costs(small_problem: CompressionProblem, menu_of: Any) -> None:
    plan = menu_of().plan(menu_of().allocation.plan)
    layers = layer_results(small_problem, plan)
    assert [layer.name for layer in layers] == list(plan)
    costs = small_problem.costs_of(plan)
    fixed = small_problem.costs["size"].fixed(16)
    assert sum(layer.bytes for layer in layers) + fixed == costs["size"]
    assert sum(layer.macs for layer in layers) == costs["macs"]
    assert sum(layer.dense_macs for layer in layers) == small_problem.costs["macs"].reference
    for layer, spec in zip(layers, small_problem.network.layers, strict=True):
        choice = plan[layer.name]
        assert (layer.kind, layer.shape, layer.choice) == (spec.kind, spec.shape, str(choice))
        assert layer.sparsity == pytest.approx(1 - spec.nonzeros(choice) / spec.n_weights)
        assert layer.weight_bits == choice.weights.bits
        assert layer.dense_bytes == 4 * spec.n_weights
        assert (layer.channels, layer.rank) == (1, 1)


def test_nothing_done_changes_nothing(small_problem: CompressionProblem) -> None:
    layers = layer_results(small_problem, small_problem.network.neutral_plan(), "F1")
    assert all(layer.sparsity == 0 and layer.macs == layer.dense_macs for layer in layers)
    assert {(layer.weight_bits, layer.activation_bits) for layer in layers} == {(32, 32)}


def test_sliced_layers_count_what_is_left(small_problem: CompressionProblem) -> None:
    names = small_problem.network.names
    plan = Plan(dict.fromkeys(names, NEUTRAL)).replace(
        names[0], Choice.of(channels=0.5, sparsity=0.5, weight_bits=8)
    )
    layers = {layer.name: layer for layer in layer_results(small_problem, plan)}
    costs = small_problem.costs_of(plan)
    assert sum(layer.macs for layer in layers.values()) == costs["macs"]
    first, depthwise = layers[names[0]], layers[names[1]]
    # half of the first layer's channels, and half of what is left is zero
    assert (first.channels, first.macs) == (0.5, first.dense_macs // 4)
    assert first.sparsity == pytest.approx(0.5)
    # the depthwise layer behind it loses the same channels, and has no zeros
    assert depthwise.macs == depthwise.dense_macs // 2
    assert (depthwise.sparsity, depthwise.channels) == (0, 1)
    assert layers[names[-1]].macs == layers[names[-1]].dense_macs


def test_a_layer_of_low_rank_is_the_sum_of_its_parts(small_problem: CompressionProblem) -> None:
    name = small_problem.network.names[-1]  # 128 -> 4
    neutral = Plan(dict.fromkeys(small_problem.network.names, NEUTRAL))
    found = layer_results(small_problem, neutral.replace(name, Choice.of(rank=0.5)))[-1]
    assert (found.rank, found.sparsity) == (0.5, 0)
    assert found.macs == 2 * 128 + 4 * 2 < found.dense_macs == 4 * 128
