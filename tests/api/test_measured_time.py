"""Estimates of time that agree with a measured network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from autocomp.search_spaces import FeasibleSpace
from autocomp.search_spaces.bits import BitsSpace
from torch import nn

from autocomp.api import measured_time
from autocomp.api.measured_time import with_measured_time
from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.costs import COSTS, Latency, total
from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.machine import Machine
from autocomp.costs.latency.precision import INT8, Precision
from autocomp.costs.latency.table import LatencyTable
from autocomp.data import load_data
from autocomp.errors import BudgetError
from autocomp.problem.problem import CompressionProblem

WIDTHS = (8, 12, 16, 20, 24, 28)


def nanoseconds(geometry: Geometry, precision: Precision) -> int:
    """Eight bits take a fifth."""
    return geometry.inputs * geometry.outputs * (20 if precision == INT8 else 100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def feasible(monkeypatch: pytest.MonkeyPatch, folder: Path) -> FeasibleSpace:
    """A chain of linear layers under `latency=60%`, on a machine that is made up."""
    machine = Machine(processor="made up", threads=1, runtime="none")

    class MadeUp(Latency):
        def __init__(self, store: CompressionStore) -> None:
            table = LatencyTable(folder, machine=machine, measure=nanoseconds)
            super().__init__(store, table=table, whole=lambda: 220_000)

    monkeypatch.setitem(COSTS, "latency", MadeUp)
    monkeypatch.setattr(Latency, "can_be_checked", True)
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)]
    net = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 3)).eval()
    inputs, labels = torch.randn(96, WIDTHS[0]), torch.arange(96) % 3
    data = load_data(tuple((inputs[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64)))
    return FeasibleSpace.build(CompressionProblem(net, data, "latency=60%"), space())


def space() -> BitsSpace:
    return BitsSpace(weight_bits=(8,), activation_bits=(8, 32))


def in_truth(monkeypatch: pytest.MonkeyPatch, problem: Any, share: float) -> list[float]:
    """Lets measured networks have a share of the saving; returns the times, which are noted."""
    seen: list[float] = []
    latency = problem.costs["latency"]

    def measured(dense: object, network: nn.Module, data: bytes, example: object) -> Any:
        from autocomp.artifacts.container import unpack

        plan, kept = unpack(data).plan, latency.slowness
        latency.slowness = 1000
        whole, network_ = latency.reference, problem.network
        saved = whole - total(latency, network_, Plan(dict(plan)))
        latency.slowness = kept
        seen.append((whole - share * saved) / whole)
        return whole, round(whole - share * saved)

    monkeypatch.setattr(measured_time, "measured_latency", measured)
    return seen


@pytest.mark.parametrize("share", [0.7, 0.85, 1.2])
def test_the_plan_that_is_found_takes_the_time_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace, share: float
) -> None:
    seen = in_truth(monkeypatch, feasible.problem, share)
    found = with_measured_time(feasible, space(), "a search")
    latency = feasible.problem.costs["latency"]
    assert isinstance(latency, Latency)
    assert (latency.slowness > 1000) == (share < 1)
    plan = found.plan(found.allocation.starts()[0])
    measured_time.measured_latency(None, None, feasible.problem.compressed(plan)[1], None)  # type: ignore[arg-type]
    assert 0.4 < seen[-1] <= 0.6 * 1.02  # six layers make coarse steps
    # the dense network's numbers are measured, and stay
    neutral = feasible.problem.network.neutral_plan()
    assert total(latency, feasible.problem.network, neutral) == latency.reference


def test_where_they_agree_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    seen = in_truth(monkeypatch, feasible.problem, 1.0)
    assert with_measured_time(feasible, space(), "a search") is feasible
    assert len(seen) in (1, measured_time.ROUNDS)


def test_a_run_that_is_resumed_goes_by_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    seen = in_truth(monkeypatch, feasible.problem, 0.7)
    first = with_measured_time(feasible, space(), "a search")
    count = len(seen)
    latency = feasible.problem.costs["latency"]
    assert isinstance(latency, Latency)
    kept, latency.slowness = latency.slowness, 1000
    again = with_measured_time(feasible, space(), "a search")
    assert len(seen) == count and latency.slowness == kept != 1000
    assert list(again.allocation.starts()[0]) == list(first.allocation.starts()[0])
    with_measured_time(feasible, space(), "another")
    assert len(seen) > count


def test_what_no_measured_network_reaches_is_refused(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    in_truth(monkeypatch, feasible.problem, 0.3)  # all in eight bits would save 20 %
    with pytest.raises(BudgetError, match="latency.*this search space reaches"):
        with_measured_time(feasible, space(), "a search")


def test_a_machine_that_scatters_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    seen = in_truth(monkeypatch, feasible.problem, 0.7)
    with monkeypatch.context() as busy:
        busy.setattr(Latency, "noise", lambda self: self.reference // 10)
        assert with_measured_time(feasible, space(), "a search") is feasible and not seen
    assert with_measured_time(feasible, space(), "a search") is not feasible and seen  # later


def test_a_cost_that_cannot_be_checked_here_is_believed(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    seen = in_truth(monkeypatch, feasible.problem, 0.6)
    monkeypatch.setattr(Latency, "can_be_checked", False)
    assert with_measured_time(feasible, space(), "a search") is feasible and not seen


def test_what_can_be_checked(monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace) -> None:
    monkeypatch.undo()
    store = feasible.problem.store
    one = Machine(processor="made up", threads=1, runtime="none")
    two = Machine(processor="made up", threads=2, runtime="none")

    def latency(machine: Machine, **more: Any) -> Latency:
        return Latency(store, table=LatencyTable(None, machine=machine), **more)

    assert latency(one).can_be_checked
    assert not latency(two).can_be_checked
    assert not latency(one, batch=4).can_be_checked
    assert not latency(one, whole=lambda: 5).can_be_checked


def test_fewer_bits_never_take_longer_however_slow(feasible: FeasibleSpace) -> None:
    latency = feasible.problem.costs["latency"]
    assert isinstance(latency, Latency)
    layer = feasible.problem.network.layers[2]
    small = Choice.of(weight_bits=8, activation_bits=8)
    times = []
    for latency.slowness in (500, 999, 1000, 1250, 2000, 9000):
        times.append(latency.of_layer(layer, small))
        assert latency.of_layer(layer, NEUTRAL) >= times[-1] >= 0
    assert times == sorted(times) and times[0] < times[-1] == latency.of_layer(layer, NEUTRAL)


def test_half_of_the_layers_may_take_longer_than_all(
    monkeypatch: pytest.MonkeyPatch, feasible: FeasibleSpace
) -> None:
    """Each change of arithmetic between layers costs more than integers save."""
    latency = feasible.problem.costs["latency"]
    names = feasible.problem.network.names
    assert isinstance(latency, Latency)

    def measured(dense: object, network: nn.Module, data: bytes, example: object) -> Any:
        from autocomp.artifacts.container import unpack

        plan, kept = unpack(data).plan, latency.slowness
        latency.slowness = 1000
        time = total(latency, feasible.problem.network, Plan(dict(plan)))
        latency.slowness = kept
        kinds = [plan[name].activations.bits for name in names]
        changes = sum(a != b for a, b in zip(kinds, kinds[1:], strict=False))
        return latency.reference, time + changes * 60_000

    monkeypatch.setattr(measured_time, "measured_latency", measured)
    found = with_measured_time(feasible, space(), "a search")
    plan = found.plan(found.allocation.starts()[0])
    assert measured(None, nn.Identity(), feasible.problem.compressed(plan)[1], None)[1] <= 0.6 * (
        1.02 * latency.reference
    )
    assert {choice.activations.bits for choice in plan.values()} == {8}
