"""Slopes of the additive model: curves, the prefix cache, and agreement of the two ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autocomp.core.choice import Choice
from autocomp.data import DataSplits
from autocomp.models import build_model
from autocomp.network.analysis import analyse
from autocomp.network.prefix_cache import PrefixCache
from autocomp.problem.problem import CompressionProblem, ProblemSettings
from autocomp.problem.sensitivity import (
    POINTS,
    gradient_slopes,
    loss_curve,
    measured_choices,
    removal_curve,
)
from autocomp.tasks import Classification

POSITIVE = st.floats(1e-6, 2.0)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), max_size=6), st.lists(POSITIVE, min_size=1))
def test_curves_are_monotone(points: list[tuple[float, float]], errors: list[float]) -> None:
    values = loss_curve(points, [0.0, *sorted(errors)])
    assert values[0] == 0
    assert bool((np.diff(values) >= -1e-12).all()) and bool(np.isfinite(values).all())


def test_curves_go_through_what_was_measured() -> None:
    points = [(0.01, 0.002), (0.1, 0.03), (1.0, 0.9)]
    errors = [0.001, 0.01, 0.1, 1.0, 2.0]
    np.testing.assert_allclose(loss_curve(points, errors), [0.0002, 0.002, 0.03, 0.9, 1.8])
    np.testing.assert_allclose(loss_curve([(1.0, 0.5)], [0.2, 2.0]), [0.1, 1.0])
    np.testing.assert_allclose(loss_curve([], [0.2]), [0.2])
    noisy = loss_curve([(0.1, 0.5), (0.2, 0.3)], [0.1, 0.2])  # noise is flattened upwards
    np.testing.assert_allclose(noisy, [0.5, 0.5])


def test_which_options_are_measured() -> None:
    errors = [0.0, *np.geomspace(1e-7, 1.0, 60)]
    chosen = measured_choices(errors)
    values = [errors[i] for i in chosen]
    assert len(chosen) == POINTS and values[-1] == 1.0
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(1e3) / 4, atol=0.3)
    assert measured_choices([0.0, 0.0]) == []
    assert measured_choices([0.5]) == [0]


@pytest.mark.parametrize("name", ["resnet20", "vit", "mobilenetv2", "vgg11"])
def test_running_on_from_any_layer_is_running_all(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name).eval()
    x = torch.randn(4, 3, 32, 32)
    network = analyse(model, x)
    with torch.no_grad():
        dense = model(x)
        cache, moved = PrefixCache(model, x), 0
        for layer in network.layers[:: max(1, len(network.layers) // 6)]:
            host = layer.owner
            with cache.before(host):
                torch.testing.assert_close(model(x), dense)
                weight = model.get_parameter(layer.parameter)
                before = weight.clone()
                weight.mul_(0.5)
                from_here = model(x)
            torch.testing.assert_close(model(x), from_here)
            moved += not torch.equal(from_here, dense)
            weight.copy_(before)
            assert not any("forward" in vars(m) for m in model.modules())
    assert moved > 0


def test_what_comes_before_is_not_run_again() -> None:
    calls: list[str] = []

    class Noted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(self.name)
            return super().forward(x)

    layers = [Noted(3, 3) for _ in range(4)]
    for number, layer in enumerate(layers):
        layer.name = str(number)
    stage = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1])
    model = nn.Sequential(stage, layers[2], layers[2], layers[3])
    x = torch.randn(5, 3)
    cache = PrefixCache(model, x)
    with cache.before("3"):
        calls.clear()
        model(x)
    assert calls == ["2", "2", "3"]  # a module that is called twice is not cached
    with cache.before("0.2"):  # backwards works, too
        calls.clear()
        model(x)
    assert calls == ["1", "2", "2", "3"]


def test_a_cache_that_would_be_too_large_runs_modules_again() -> None:
    torch.manual_seed(0)
    model, x = build_model("resnet20").eval(), torch.randn(4, 3, 32, 32)
    calls = 0

    def count(module: nn.Module, inputs: Any) -> None:
        nonlocal calls
        calls += 1

    model.conv1.register_forward_pre_hook(count)
    small = 4 * 16 * 32 * 32 * 4
    for limit, runs in ((small, 1), (100 * small, 0)):
        with PrefixCache(model, x, limit).before("layer1.1.conv1"), torch.no_grad():
            forward, calls = vars(model.conv1).get("forward"), 0
            model(x)
        assert (forward is None, calls) == (runs == 1, 1)  # a patched module keeps its hooks


def test_the_two_ways_agree_on_which_layer_matters(tiny_problem: CompressionProblem) -> None:
    """Measured divergences of small errors against one backward pass, in order of magnitude."""
    layers = tiny_problem.network.layers
    menus = [[Choice.of(weight_bits=b) for b in (3, 4, 5, 6)] for _ in layers]
    measured = tiny_problem.losses(menus)
    images, _ = tiny_problem.data.calibration.batch(slice(0, 96))
    slopes = gradient_slopes(
        tiny_problem.store.model, tiny_problem.network, images, Classification()
    )
    for layer, menu, losses, slope in zip(layers, menus, measured, slopes, strict=True):
        expected = slope * tiny_problem.store.error(layer, menu[1])
        assert 1 / 30 < losses[1] / expected < 30
    assert all(p.grad is None for p in tiny_problem.store.model.parameters())


def test_a_module_that_writes_into_its_input_is_run_again() -> None:
    """The skip reads what the in-place ReLU has left."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.relu = nn.Linear(4, 4), nn.ReLU(inplace=True)
            self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            y = self.b(self.relu(x))
            result: Tensor = self.c(x + y)
            return result

    torch.manual_seed(0)
    model, x = Skip().eval(), torch.randn(6, 4)
    with torch.no_grad():
        dense = model(x)
        cache = PrefixCache(model, x)
        for host in ("b", "c"):
            with cache.before(host):
                torch.testing.assert_close(model(x), dense)


def test_a_module_s_own_forward_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    own = model[0].forward = lambda x: x * 2  # type: ignore[assignment]
    with PrefixCache(model, torch.randn(4, 3)).before("1"):
        pass
    assert vars(model[0])["forward"] is own


def test_slopes_on_a_single_image(tiny_net: nn.Module, tiny_data: DataSplits) -> None:
    problem = CompressionProblem(
        tiny_net, tiny_data, "size=60%", ProblemSettings(slope_images=1, correction_images=1)
    )
    menus = [[Choice.of(weight_bits=b) for b in (2, 4)] for _ in problem.network.layers]
    for losses in problem.losses(menus):
        assert np.isfinite(losses).all() and losses[0] >= losses[1] >= 0


def test_removal_curves_rise_from_nothing_through_what_was_measured() -> None:
    """Next to units that do nothing the curve must not be lower than a parabola would be."""
    points = {0.125: 0.0, 0.375: 0.009, 0.75: 0.06}
    values = removal_curve(points, [0.0, 0.0625, 0.125, 0.25, 0.375, 0.5, 0.75])
    np.testing.assert_allclose(values[[0, 1, 2, 4, 6]], [0, 0, 0, 0.009, 0.06], atol=1e-12)
    assert 0.009 * 0.25 <= values[3] <= 0.009 / 2 and 0.009 < values[5] < 0.06
    noisy = removal_curve({0.2: 0.5, 0.4: 0.3}, [0.2, 0.3, 0.4])  # noise is flattened upwards
    assert noisy.tolist() == [0.5, 0.5, 0.5]
    np.testing.assert_allclose(removal_curve({1.0: 0.5}, [0.0, 0.5, 1.0]), [0, 0.25, 0.5])
    assert removal_curve({}, [0.25]).tolist() == [0.25]
