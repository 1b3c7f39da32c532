"""Forecasts of what a search needs before its first evaluation."""

from __future__ import annotations

import pytest
import torch

from autocomp.compression.forecast import Forecast
from autocomp.models import build_architecture
from autocomp.models.builder import ModelSource
from autocomp.network.analysis import analyse


@pytest.mark.parametrize(
    ("name", "seconds", "gigabytes"),
    [("resnet20", 23, 1.2), ("resnet56", 76, 1.4), ("resnet110", 141, 1.7), ("vgg16", 195, 4.6)],
)
def test_it_says_what_the_benchmark_measured(name: str, seconds: float, gigabytes: float) -> None:
    model = build_architecture(ModelSource(name, {})).eval()
    found = Forecast.of(analyse(model, torch.zeros(2, 3, 32, 32)), slowness=1.0)
    assert found.seconds == pytest.approx(seconds, rel=0.12)  # docs/benchmarks.md
    assert found.gigabytes == pytest.approx(gigabytes, rel=0.3)


def test_a_slower_machine_takes_longer_and_no_more_memory() -> None:
    network = analyse(torch.nn.Linear(8, 4), torch.zeros(2, 8))
    once, twice = Forecast.of(network, 1.0), Forecast.of(network, 2.0)
    assert twice.seconds == pytest.approx(2 * once.seconds)
    assert twice.gigabytes == once.gigabytes
    assert Forecast.of(network).seconds > 0


@pytest.mark.parametrize(
    ("seconds", "told"), [(12, "12 seconds and 1.5 GB"), (200, "3 minutes and 1.5 GB")]
)
def test_how_it_is_told(seconds: float, told: str) -> None:
    assert str(Forecast(seconds, 1.5)) == told
