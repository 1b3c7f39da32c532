"""Scores of single weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.compression.saliency import WEIGHT_CRITERIA, lamp, weight_scores
from autocomp.errors import DataError, LayerError, UnknownNameError
from autocomp.network.analysis import analyse


def scores(case: Any, criterion: str, batches: Any = None) -> dict[str, Tensor]:
    layers = analyse(case.model, case.inputs).layers
    return weight_scores(
        case.model, layers, case.batches if batches is None else batches, criterion
    )


def example_gradients(model: nn.Module, name: str, x: Tensor, y: Tensor) -> Tensor:
    """Returns dL/dw of every example, one after the other."""
    found = []
    for k in range(len(x)):
        loss = F.cross_entropy(model(x[k : k + 1]), y[k : k + 1])
        found.append(torch.autograd.grad(loss, model.get_parameter(name))[0])
    return torch.stack(found)


@pytest.mark.parametrize("name", ["mlp", "chain", "residual", "depthwise"])
def test_against_example_gradients(name: str, case: Any) -> None:
    found = case(name)
    by_name = {c: scores(found, c) for c in ("magnitude", "taylor", "obd")}
    for layer in analyse(found.model, found.inputs).layers:
        w = found.model.get_parameter(layer.parameter).detach()
        g = example_gradients(found.model, layer.parameter, found.inputs, found.labels)
        expected = {
            "magnitude": w.abs(),
            "taylor": (g.mean(0) * w).abs(),
            "obd": g.square().mean(0) * w.square() / 2,
        }
        for criterion, value in expected.items():
            got = by_name[criterion][layer.name]
            assert got.shape == w.shape and not got.requires_grad
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("criterion", WEIGHT_CRITERIA)
def test_the_network_is_left_as_it_was(criterion: str, case: Any) -> None:
    found = case("residual")
    found.model.train()
    next(found.model.parameters()).requires_grad_(False)
    before = copy.deepcopy(found.model.state_dict())
    one, two = scores(found, criterion), scores(found, criterion)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert all(torch.equal(v, before[k]) for k, v in found.model.state_dict().items())
    assert all(p.grad is None for p in found.model.parameters()) and found.model.training
    assert [p.requires_grad for p in found.model.parameters()][:2] == [False, True]
    none = scores(found, criterion, [(found.inputs, None)])
    decisions = found.model.eval()(found.inputs).argmax(1)
    told = scores(found, criterion, [(found.inputs, decisions)])
    assert all(torch.equal(none[key], told[key]) for key in one)


def test_lamp_by_hand() -> None:
    squares = torch.tensor([[4.0, 1.0], [9.0, 0.0]])
    assert lamp(squares).tolist() == [
        [pytest.approx(4 / 13), pytest.approx(1 / 14)],
        [1.0, 0.0],
    ]
    assert lamp(torch.zeros(3)).tolist() == [0, 0, 0]
    assert lamp(torch.tensor([2.0, 2.0])).tolist() == [0.5, 1.0]  # the first of equals goes first


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=40), st.floats(0.01, 100))
def test_lamp_keeps_the_order_and_one_weight_a_layer(values: list[float], factor: float) -> None:
    squares = torch.tensor(values, dtype=torch.float64)
    found = lamp(squares)
    order = torch.argsort(squares, stable=True)
    ascending = found[order]
    assert bool((ascending[1:] >= ascending[:-1] - 1e-12).all())
    if float(squares.max()) > 0:
        assert float(found.max()) == 1.0
    torch.testing.assert_close(lamp(squares * factor), found)  # no unit of measure


def test_lamp_of_other_scores(case: Any) -> None:
    found = case("mlp")
    for name, inner in (("lamp-taylor", "taylor"), ("lamp-obd", "obd")):
        plain = scores(found, inner)
        for key, value in scores(found, name).items():
            torch.testing.assert_close(value, lamp(plain[key]))
    magnitudes = scores(found, "magnitude", [])
    for key, value in scores(found, "lamp", []).items():
        torch.testing.assert_close(value, lamp(magnitudes[key].square()))


def test_errors(case: Any) -> None:
    found = case("mlp")
    layers = analyse(found.model, found.inputs).layers
    with pytest.raises(UnknownNameError, match="no weight criterion named 'magnitud'.*'magnitude'"):
        weight_scores(found.model, layers, [], "magnitud")
    with pytest.raises(DataError, match="at least one example"):
        weight_scores(found.model, layers, [], "obd")
    lost = replace(layers[0], parameter="0.wieght")
    with pytest.raises(LayerError, match="no weight named '0.wieght'.*'0.weight'"):
        weight_scores(found.model, [lost], [], "magnitude")


def test_a_weight_that_the_loss_does_not_use(case: Any) -> None:
    found = case("mlp")
    layers = analyse(found.model, found.inputs).layers
    found.model.spare = nn.Linear(2, 2)
    found.model.forward = lambda x: nn.Sequential.forward(found.model[:5], x)
    lost = replace(layers[0], name="spare", parameter="spare.weight", shape=(2, 2))
    got = weight_scores(found.model, [*layers, lost], found.batches, "taylor")
    assert got["spare"].tolist() == [[0, 0], [0, 0]] and float(got["0"].max()) > 0
