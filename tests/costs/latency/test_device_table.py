"""Times of another device: written there, brought here, and a budget of a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autocomp.api.measure import measure
from autocomp.api.resume import resume
from autocomp.api.search import search
from autocomp.compression.store import CompressionStore
from autocomp.core.choice import NEUTRAL, Choice
from autocomp.core.plan import Plan
from autocomp.costs.base import total
from autocomp.costs.latency import INT8, Geometry, LatencyTable, Machine, Precision
from autocomp.costs.latency.cost import Latency
from autocomp.costs.latency.device_table import FORMAT, DeviceTable, write_device_table
from autocomp.costs.latency.table import VERSION
from autocomp.errors import BudgetError, RunError
from autocomp.network.analysis import analyse
from autocomp.runtime import is_available
from autocomp.storage.sealed import write_sealed

BOARD = Machine("a small board", "onnxruntime 1", 4)
CODES = Choice.of(weight_bits=8, activation_bits=8, output_bits=8)


def nanoseconds(geometry: Geometry, precision: Precision) -> int:
    return geometry.inputs * geometry.outputs * (20 if precision == INT8 else 100) + 7


def net_of(width: int = 12) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3)).eval()


def store_of(net: nn.Module) -> CompressionStore:
    return CompressionStore(net, analyse(net, torch.rand(2, 8)))


def written(path: Path, net: nn.Module) -> Latency:
    """Writes what the board measures."""
    table = LatencyTable(None, machine=BOARD, measure=nanoseconds)
    latency = Latency(store_of(net), torch.rand(1, 8), table, whole=lambda: 90_000)
    assert write_device_table(latency, path) == len(table.times)
    return latency


def test_it_says_here_what_was_measured_there(tmp_path: Path) -> None:
    net = net_of()
    there = written(tmp_path / "board.json", net)
    here = Latency(store_of(net), torch.rand(1, 8), DeviceTable(tmp_path / "board.json"))
    assert here.table.machine == BOARD and here.table.elsewhere and here.noise() == 0
    assert here.reference == there.reference == 90_000
    for layer in store_of(net).network.layers:
        for choice in (NEUTRAL, CODES):
            assert here.of_layer(layer, choice) == there.of_layer(layer, choice) > 0
            for inputs in range(1, layer.inputs + 1):  # also where channels are gone
                for outputs in (1, layer.outputs):
                    times = [x.of_geometry(layer, choice, inputs, outputs) for x in (here, there)]
                    assert times[0] == times[1]


def test_another_network_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "board.json", net_of())
    table = DeviceTable(tmp_path / "board.json")
    other = Latency(store_of(net_of(13)), torch.rand(1, 8), table)
    with pytest.raises(BudgetError, match="no time of 'network.*measure this very network"):
        _ = other.reference


def sealed(path: Path, **changed: Any) -> Path:
    values = {
        "format": FORMAT, "version": VERSION, "repeats": 3, "nanoseconds": {"a": 4},
        "machine": {"processor": "p", "runtime": "r", "threads": 1},
    }  # fmt: skip
    write_sealed(path, {**values, **changed})
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "other"}, "must be a device table, but is not"),
        ({"version": VERSION - 1}, f"version {VERSION}, but .* is of {VERSION - 1}; measure again"),
        ({"machine": {"processor": 3}}, "must hold a machine and times"),
        ({"machine": None}, "must hold a machine and times"),
        ({"nanoseconds": {"a": -1}}, "must hold a machine and times"),
        ({"nanoseconds": {"a": True}}, "must hold a machine and times"),
        ({"nanoseconds": [1]}, "must hold a machine and times"),
        ({"repeats": "x"}, "must hold a machine and times"),
        ({"repeats": -1}, "must hold a machine and times"),
        (
            {"machine": {"processor": "p", "runtime": "r", "threads": "two"}},
            "must hold a machine and times",
        ),
    ],
)
def test_files_that_are_none(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        DeviceTable(sealed(tmp_path / "t.json", **changed))


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    file = sealed(tmp_path / "t.json")
    assert DeviceTable(file).times == {"a": 4}
    file.write_text(file.read_text().replace('"a": 4', '"a": 5'))
    with pytest.raises(BudgetError, match="as it was written.*copy it again"):
        DeviceTable(file)
    with pytest.raises(BudgetError, match="must be readable.*--device-table FILE"):
        DeviceTable(tmp_path / "missing.json")
    file.write_text(json.dumps([1]))
    with pytest.raises(BudgetError, match="as it was written"):
        DeviceTable(file)


def data() -> Any:
    torch.manual_seed(3)
    inputs, labels = torch.randn(96, 8), torch.arange(96) % 3
    return tuple((inputs[i : i + 32], labels[i : i + 32]) for i in (0, 32, 64))


def test_a_search_for_a_device(tmp_path: Path) -> None:
    net = net_of()
    there = written(tmp_path / "board.json", net)
    settings: dict[str, Any] = {
        "agent": "dp", "evaluations": 1, "space": "bits:weight_bits=8,activation_bits=8/32",
        "report": "none", "cache": "none", "progress": False,
    }  # fmt: skip
    limit = (90_000 - 96 * 80) / 90_000 + 1e-6  # the first layer in eight bits is enough
    found = search(
        net, data(), budget=f"latency={100 * limit:.4f}%", out=tmp_path / "run",
        device_table=tmp_path / "board.json", **settings,
    )  # fmt: skip
    assert str(found.plan["0"]) == "w8 a8"
    assert found.summary.compressed["latency"] == total(
        there, store_of(net).network, Plan(dict(found.plan))
    )
    assert not found.summary.measured
    with pytest.raises(BudgetError, match="for latency budgets, but got size=50%"):
        search(
            net, data(), budget="size=50%", device_table=tmp_path / "board.json",
            out=tmp_path / "2", **settings,
        )  # fmt: skip
    assert not (tmp_path / "2").exists()
    # another device's times would be mixed with those of the run
    slower = LatencyTable(None, machine=BOARD, measure=lambda g, p: nanoseconds(g, p) + 1)
    latency = Latency(store_of(net), torch.rand(1, 8), slower, whole=lambda: 90_000)
    write_device_table(latency, tmp_path / "board.json")
    with pytest.raises(RunError, match="its own device table, but these differ"):
        resume(tmp_path / "run", model=net, data=data())


@pytest.mark.skipif(not is_available(), reason="onnx and onnxruntime are not installed")
def test_this_machine_as_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCOMP_CACHE", str(tmp_path / "cache"))
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    found = measure(net, input=(8,), device_table=tmp_path / "here.json")
    table = DeviceTable(tmp_path / "here.json")
    here = Latency(store_of(net), torch.rand(1, 8), table)
    assert here.reference == found.nanoseconds and str(table.machine) == found.machine
    with pytest.raises(BudgetError, match="must be writable"):
        measure(net, input=(8,), device_table=tmp_path)
