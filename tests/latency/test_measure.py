"""Timing: with made-up clocks, and twice with onnxruntime at tiny shapes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autocomp.core.choice import BITS
from autocomp.costs.latency import (
    FLOAT32,
    INT8,
    Geometry,
    Machine,
    Precision,
    compare,
    is_available,
    measure_geometry,
    network_latency,
    runs_as,
)
from autocomp.costs.latency.layer_model import input_of, layer_model
from autocomp.costs.latency.machine import processor_name
from autocomp.costs.latency.precision import INT8_WEIGHTS, PRECISIONS
from autocomp.errors import ModelError
from autocomp.runtime.network import network_runner
from autocomp.runtime.runner import ENOUGH, WARM_UP, Runner, interleaved, median_time

needs_onnx = pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
LINEAR = Geometry("linear", 3, 2, (4,))
CONV = Geometry("conv", 2, 4, (5, 6), (3, 2), (2, 1), (1, 2), (1, 0, 1, 2), groups=2, batch=2)
TRANSPOSED = Geometry(
    "transposed", 4, 2, (3, 4), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1), groups=2
)


def clock_of(durations: list[int]) -> Callable[[], int]:
    """A clock for one function: read once at first, then before and after each call."""
    steps = (step for duration in durations for step in (0, duration))
    now = itertools.accumulate(steps, initial=0)
    return lambda: next(now)


def ticking(step: int) -> Callable[[], int]:
    now = itertools.count(0, step)
    return lambda: next(now)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=4))
def test_the_median_of_repeats(durations: list[int]) -> None:
    calls: list[str] = []
    found = median_time(
        lambda: calls.append("run"), len(durations), clock_of(durations),
        lambda: calls.append("before"),
    )  # fmt: skip
    ordered, half = sorted(durations), len(durations) // 2
    middle = ordered[half : half + 1] if len(durations) % 2 else ordered[half - 1 : half + 1]
    assert found == sum(middle) // len(middle)
    assert calls == ["run"] * WARM_UP + ["before", "run"] * len(durations)


def test_turns_are_taken() -> None:
    calls: list[int] = []
    times = interleaved([lambda: calls.append(1), lambda: calls.append(2)], 3, ticking(7))
    assert calls == [1] * WARM_UP + [2] * WARM_UP + [1, 2] * 3
    assert times == [[7, 7, 7], [7, 7, 7]]


def test_what_takes_long_is_repeated_five_times() -> None:
    assert len(interleaved([lambda: None], 50, ticking(ENOUGH))[0]) == 5
    assert len(interleaved([lambda: None], 3, ticking(ENOUGH))[0]) == 3
    assert len(interleaved([lambda: None], 50, ticking(1))[0]) == 50


def test_no_repeats() -> None:
    with pytest.raises(ModelError, match="`repeats` must be at least 1, but got 0"):
        median_time(lambda: None, 0)


@pytest.mark.parametrize("weights", BITS)
@pytest.mark.parametrize("activations", BITS)
def test_what_bit_widths_run_as(weights: int, activations: int) -> None:
    expected = INT8 if max(weights, activations) <= 8 else FLOAT32
    assert runs_as(weights, activations) == expected


def test_the_processors_name(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: A 1\ncpu family\t: 6\nmodel\t\t: 2\n\nmodel name\t: B\n")
    assert processor_name(file) == "A 1 (cpu family 6, model 2)"
    file.write_text("model name : A 1\n")
    assert processor_name(file) == "A 1"
    assert processor_name(tmp_path / "none")
    assert str(Machine("P", "R 1", 2)) == "P, R 1, 2 threads"
    assert Machine("P", "R 1", 2).digest != Machine("P", "R 1", 1).digest


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=r"onnxruntime is needed.*autocomp\[onnx\]"):
        Machine.here()
    with pytest.raises(ModelError, match=r"onnx is needed.*autocomp\[onnx\]"):
        measure_geometry(LINEAR)
    with pytest.raises(ModelError, match=r"autocomp\[onnx\]"):
        network_latency(nn.Linear(2, 2), torch.rand(1, 2))


def weights_of(data: bytes) -> dict[str, torch.Tensor]:
    import onnx

    graph = onnx.load_model_from_string(data).graph
    return {t.name: torch.tensor(onnx.numpy_helper.to_array(t)) for t in graph.initializer}


@needs_onnx
@pytest.mark.parametrize("geometry", [LINEAR, CONV, TRANSPOSED])
def test_the_one_layer_models_are_the_layer(geometry: Geometry) -> None:
    """Float32 and int8 weights give what PyTorch gives for the same weights."""
    x = torch.tensor(input_of(geometry))
    for precision in (FLOAT32, INT8_WEIGHTS):
        data = layer_model(geometry, precision)
        tensors = weights_of(data)
        weight = tensors["weight"] if precision == FLOAT32 else tensors["weight codes"] * 0.02
        if geometry.kind == "linear":
            expected = x @ weight
        elif geometry.kind == "conv":
            before, after = geometry.padding[:2], geometry.padding[2:]
            padded = nn.functional.pad(x, (before[1], after[1], before[0], after[0]))
            expected = nn.functional.conv2d(
                padded, weight, None, geometry.stride, 0, geometry.dilation, geometry.groups
            )
        else:
            expected = nn.functional.conv_transpose2d(
                x, weight, None, geometry.stride, geometry.padding[:2], geometry.output_padding,
                geometry.groups,
            )  # fmt: skip
        found = torch.tensor(Runner(data, 1, x.numpy()).outputs()[0])
        # onnxruntime rounds the inputs of a matrix product with int8 weights itself
        close = 2e-2 if geometry.kind == "linear" and precision != FLOAT32 else 1e-4
        torch.testing.assert_close(found, expected, rtol=0, atol=close)


@needs_onnx
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("geometry", [LINEAR, CONV, TRANSPOSED])
def test_every_precision_is_measured(geometry: Geometry, precision: Precision) -> None:
    found = measure_geometry(geometry, precision, repeats=3)
    assert type(found) is int and found >= 1
    # a clock that ticks the same in every call: nothing is left beyond an empty network
    clock = ticking(5)
    assert measure_geometry(geometry, precision, repeats=3, clock=clock) == 1


@needs_onnx
def test_bad_arguments() -> None:
    with pytest.raises(ModelError, match="A layer can run as w32a32"):
        measure_geometry(LINEAR, Precision(3, 8))
    with pytest.raises(ModelError, match="`threads` must be at least 1, but got 0"):
        measure_geometry(LINEAR, threads=0)
    with pytest.raises(ModelError, match="onnxruntime must run the network, but raised"):
        Runner(b"no model", 1, input_of(LINEAR))
    with pytest.raises(ModelError, match="batch=0"):
        network_latency(nn.Linear(2, 2), torch.rand(1, 2), batch=0)
    with pytest.raises(ModelError, match="0 examples"):
        network_latency(nn.Linear(2, 2), torch.rand(0, 2))


class Branches(nn.Module):
    """Depends on its values, which no export can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x


@needs_onnx
def test_whole_networks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    model[1].train()  # exported in evaluation mode all the same, and left as it was
    x = torch.rand(3, 1, 4, 4)
    assert network_latency(model, x, repeats=3, batch=2, clock=ticking(30)) == 30e-9
    assert [m.training for m in model] == [True] * 4
    runner = network_runner(model, x, batch=2)
    expected = model.eval()(x[:1].expand(2, -1, -1, -1)).detach()
    torch.testing.assert_close(torch.tensor(runner.outputs()[0]), expected, rtol=1e-4, atol=1e-4)
    assert network_latency(model, x, repeats=3) > 0
    file = tmp_path / "layer.onnx"
    file.write_bytes(layer_model(LINEAR, FLOAT32))
    found = compare(file, file, torch.rand(4, 3)[:1], repeats=4, batch=4, clock=ticking(9))
    assert (found.first, found.second, found.ratio) == (9e-9, 9e-9, 1)
    assert (found.low, found.high, found.repeats) == (1, 1, 4)
    with pytest.raises(ModelError, match="needs its export to ONNX, which raised"):
        network_latency(Branches(), torch.rand(1, 2))
    assert capsys.readouterr() == ("", "")
