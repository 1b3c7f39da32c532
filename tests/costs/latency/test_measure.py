"""Timing single layers: what they are, and once with onnxruntime at tiny shapes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autocomp.core.choice import BITS
from autocomp.costs.latency import (
    FLOAT32,
    INT8,
    Geometry,
    Machine,
    Precision,
    measure_geometry,
    runs_as,
)
from autocomp.costs.latency.layer_model import input_of, layer_model
from autocomp.costs.latency.machine import processor_name
from autocomp.costs.latency.precision import INT8_WEIGHTS, PRECISIONS
from autocomp.errors import ModelError
from autocomp.runtime import Runner, is_available

needs_onnx = pytest.mark.skipif(not is_available(), reason="needs onnxruntime")
LINEAR = Geometry("linear", 3, 2, (4,))
CONV = Geometry("conv", 2, 4, (5, 6), (3, 2), (2, 1), (1, 2), (1, 0, 1, 2), groups=2, batch=2)
TRANSPOSED = Geometry(
    "transposed", 4, 2, (3, 4), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1), groups=2
)


def ticking(step: int) -> Callable[[], int]:
    now = itertools.count(0, step)
    return lambda: next(now)


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
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


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
