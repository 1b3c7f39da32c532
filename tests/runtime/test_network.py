"""The time of whole networks: with made-up clocks, and with onnxruntime at tiny shapes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autocomp.errors import ArtifactError, ModelError
from autocomp.runtime import compare, is_available, latencies, network_latency, serialized, trace
from autocomp.runtime.network import network_runner

if not is_available():
    pytest.skip("needs onnxruntime", allow_module_level=True)


def ticking(step: int) -> Callable[[], int]:
    now = itertools.count(0, step)
    return lambda: next(now)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())


IMAGES = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_network_is_timed_and_left_alone() -> None:
    model = small()
    model[1].train()  # traced in evaluation mode all the same, and left as it was
    assert network_latency(model, IMAGES, repeats=3, batch=2, clock=ticking(30)) == 30e-9
    assert [m.training for m in model] == [True] * 4
    assert network_latency(model, IMAGES, repeats=3) > 0


def test_networks_files_and_bytes_are_the_same(tmp_path: Path) -> None:
    model = small().eval()
    data = serialized(trace(model, IMAGES))
    (tmp_path / "m.onnx").write_bytes(data)
    expected = model(IMAGES).detach()
    for source in (model, data, tmp_path / "m.onnx", model.double()):
        found = torch.tensor(network_runner(source, IMAGES).outputs()[0])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_batch_is_copies_of_the_first_example(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(
        "autocomp.runtime.network.network_runner",
        lambda model, inputs, threads: given.append((inputs, threads)) or (lambda: None),
    )
    network_latency(small(), IMAGES, threads=2, batch=2, clock=ticking(1))
    compare(small(), small(), IMAGES, threads=2, batch=2, clock=ticking(1))
    latencies([small()], IMAGES, clock=ticking(1))
    assert [(len(inputs), threads) for inputs, threads in given] == [(2, 2)] * 3 + [(3, 1)]
    for inputs, _ in given[:3]:
        assert torch.equal(inputs, IMAGES[[0, 0]])
    assert torch.equal(given[3][0], IMAGES)


def test_latencies_are_medians_of_turns() -> None:
    """The clock's k-th reading is k^2, so the durations are 3, 7, 11, 15, 19, 23."""
    data = serialized(trace(small(), IMAGES))
    now = itertools.count()
    assert latencies([data, data], IMAGES, repeats=3, clock=lambda: next(now) ** 2) == (
        11e-9, 15e-9
    )  # fmt: skip
    assert latencies([], IMAGES) == ()


def test_a_comparison() -> None:
    data = serialized(trace(small(), IMAGES))
    found = compare(data, data, IMAGES, repeats=4, batch=4, clock=ticking(9))
    assert (found.first, found.second, found.ratio) == (9e-9, 9e-9, 1)
    assert (found.low, found.high, found.repeats) == (1, 1, 4)


def test_numbers_out_of_range() -> None:
    with pytest.raises(ModelError, match="batch=0"):
        network_latency(small(), IMAGES, batch=0)
    with pytest.raises(ModelError, match="0 examples"):
        network_latency(small(), IMAGES[:0])
    with pytest.raises(ModelError, match="`repeats` must be at least 1, but got 0"):
        latencies([small()], IMAGES, repeats=0)
    with pytest.raises(ModelError, match="`threads` must be at least 1, but got 0"):
        latencies([small()], IMAGES, threads=0)
    with pytest.raises(ArtifactError, match="must be readable"):
        network_latency(b"no model", IMAGES)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=r"autocomp\[onnx\]"):
        network_latency(nn.Linear(2, 2), torch.rand(1, 2))
