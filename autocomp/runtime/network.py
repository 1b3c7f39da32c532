"""The time of whole networks in onnxruntime."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autocomp.errors import ModelError
from autocomp.network.modes import evaluation_mode
from autocomp.plugins.imports import describe, optional_import
from autocomp.runtime.runner import REPEATS, Clock, Runner, interleaved

Source = nn.Module | Path
"""A network, or its ONNX file."""


@dataclass(frozen=True)
class Comparison:
    """Two networks, timed in turns.

    Attributes:
        first: median seconds of the first network.
        second: median seconds of the second.
        ratio: second / first; below 1 where the second is faster.
        low: lower quartile of the ratio over pairs of calls that followed each other.
        high: upper quartile.
        repeats: timed calls of each.
    """

    first: float
    second: float
    ratio: float
    low: float
    high: float
    repeats: int


def network_latency(
    model: Source,
    example: Tensor,
    threads: int = 1,
    repeats: int = REPEATS,
    batch: int = 1,
    clock: Clock = time.perf_counter_ns,
) -> float:
    """Returns the median seconds of a forward pass of the whole network in onnxruntime.

    Args:
        model: a network, exported with fixed shapes and not modified, or the path of an ONNX file
            that takes `batch` examples.
        example: a batch that the network accepts; its first example is used.
        threads: threads within an operator, at least 1; operators run one after the other.
        repeats: timed calls, at least 1; fewer for a network that takes long.
        batch: examples a forward pass, copies of one.
        clock: tells the time in nanoseconds.

    Raises:
        ModelError: if onnx, onnxscript or onnxruntime is missing, or they cannot run the network.
    """
    runner = network_runner(model, example, threads, batch)
    return float(statistics.median(interleaved([runner], repeats, clock)[0])) / 1e9


def compare(
    first: Source,
    second: Source,
    example: Tensor,
    threads: int = 1,
    repeats: int = REPEATS,
    batch: int = 1,
    clock: Clock = time.perf_counter_ns,
) -> Comparison:
    """Times two networks in turns, so that a slow moment of the machine meets both.

    Args:
        first: a network or the path of its ONNX file.
        second: another one for the same input.
        example: see `network_latency`, as for the rest.
        threads: likewise.
        repeats: likewise.
        batch: likewise.
        clock: likewise.

    Raises:
        ModelError: as `network_latency` does.
    """
    runners = [network_runner(model, example, threads, batch) for model in (first, second)]
    one, two = interleaved([*runners], repeats, clock)
    medians = statistics.median(one), statistics.median(two)
    ratios = [b / max(a, 1) for a, b in zip(one, two, strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return Comparison(
        medians[0] / 1e9, medians[1] / 1e9, medians[1] / max(medians[0], 1),
        float(low), float(high), len(one),
    )  # fmt: skip


def network_runner(model: Source, example: Tensor, threads: int = 1, batch: int = 1) -> Runner:
    """Returns the network in onnxruntime, bound to `batch` copies of the first example.

    Raises:
        ModelError: as `network_latency` does.
    """
    if batch < 1 or not len(example):
        raise ModelError(
            f"A network is timed on at least 1 example, but got batch={batch} and "
            f"{len(example)} examples; give one of each."
        )
    inputs = example[:1].expand(batch, *example.shape[1:]).contiguous().detach()
    array: np.ndarray[Any, Any] = inputs.cpu().numpy()
    if isinstance(model, Path):
        return Runner(model, threads, array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        _export(model, inputs, path)
        return Runner(path, threads, array)


def _export(model: nn.Module, inputs: Tensor, path: Path) -> None:
    for library in ("onnx", "onnxscript"):
        optional_import(library, "onnx", ModelError)
    with evaluation_mode(model), torch.no_grad(), _silent():
        try:
            program = torch.onnx.export(model, (inputs,), dynamo=True, verbose=False)
            if program is None:
                raise ModelError("torch.onnx.export must give a program, but gave none; update it.")
            program.save(path)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"Measuring a network needs its export to ONNX, which raised {describe(error)}; "
                "repair what torch.onnx.export names, or measure without latency."
            ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps the exporter from writing: of its own future, missing libraries, and whole graphs."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("onnx", "export")]
    loggers.append(logging.getLogger("onnxscript"))
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
