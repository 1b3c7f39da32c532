"""The time of whole networks in onnxruntime."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from autocomp.core.structured import Inputs, leaves_of, moved
from autocomp.errors import ModelError
from autocomp.runtime.clock import REPEATS, Clock, interleaved, median_time
from autocomp.runtime.model_proto import serialized
from autocomp.runtime.runner import Runner
from autocomp.runtime.session import as_array
from autocomp.runtime.trace import trace

Source = nn.Module | bytes | Path
"""A network, or its ONNX file, or the file's bytes."""


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
    example: Inputs,
    threads: int = 1,
    repeats: int = REPEATS,
    batch: int = 1,
    clock: Clock = time.perf_counter_ns,
) -> float:
    """Returns the median seconds of a forward pass of the whole network in onnxruntime.

    Args:
        model: a network, timed as the float32 file that an export would write of it and not
            modified, or an ONNX file that takes `batch` examples.
        example: a batch that the network accepts; its first example is used.
        threads: threads within an operator, at least 1; operators run one after the other.
        repeats: timed calls, at least 1; fewer for a network that takes long.
        batch: examples a forward pass, copies of one.
        clock: tells the time in nanoseconds.

    Raises:
        ModelError: if onnx, onnxscript or onnxruntime is missing, they cannot run the network, or
            a number is out of range.
        ArtifactError: if a file is no ONNX file.
    """
    return latencies([model], _repeated(example, batch), threads, repeats, clock)[0]


def latencies(
    models: Sequence[Source],
    inputs: Inputs,
    threads: int = 1,
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter_ns,
) -> tuple[float, ...]:
    """Returns the median seconds of several networks, run in turns so that all meet one machine.

    Args:
        models: networks and ONNX files, as for `network_latency`.
        inputs: the whole batch that each of them gets.
        threads: see `network_latency`, as for the rest.
        repeats: likewise.
        clock: likewise.

    Raises:
        ModelError, ArtifactError: as `network_latency` does.
    """
    runners = [network_runner(model, inputs, threads) for model in models]
    return tuple(
        float(statistics.median(times)) / 1e9 for times in interleaved(runners, repeats, clock)
    )


def noise(
    model: Source,
    inputs: Inputs,
    threads: int = 1,
    rounds: int = 6,
    clock: Clock = time.perf_counter_ns,
) -> float:
    """Returns by how many seconds measurements of one network differ, here and now.

    The medians of some rounds of calls, the largest less the least.

    Args:
        model: the network, or its ONNX file.
        inputs: the batch that it gets.
        threads: see `network_latency`.
        rounds: how many medians, at least 2.
        clock: tells the time in nanoseconds.

    Raises:
        ModelError, ArtifactError: as `network_latency` does.
    """
    runner = network_runner(model, inputs, threads)
    each = max(5, REPEATS // rounds)
    medians = [median_time(runner, each, clock) for _ in range(max(2, rounds))]
    return (max(medians) - min(medians)) / 1e9


def compare(
    first: Source,
    second: Source,
    example: Inputs,
    threads: int = 1,
    repeats: int = REPEATS,
    batch: int = 1,
    clock: Clock = time.perf_counter_ns,
) -> Comparison:
    """Times two networks in turns, and tells how far their ratio is to be trusted.

    Args:
        first: a network or its ONNX file.
        second: another one for the same input.
        example: see `network_latency`, as for the rest.
        threads: likewise.
        repeats: likewise.
        batch: likewise.
        clock: likewise.

    Raises:
        ModelError, ArtifactError: as `network_latency` does.
    """
    inputs = _repeated(example, batch)
    runners = [network_runner(model, inputs, threads) for model in (first, second)]
    one, two = interleaved(runners, repeats, clock)
    medians = statistics.median(one), statistics.median(two)
    ratios = [b / max(a, 1) for a, b in zip(one, two, strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return Comparison(
        medians[0] / 1e9, medians[1] / 1e9, medians[1] / max(medians[0], 1),
        float(low), float(high), len(one),
    )  # fmt: skip


def network_runner(model: Source, inputs: Inputs, threads: int = 1) -> Runner:
    """Returns the network in onnxruntime, bound to a batch of inputs.

    Raises:
        ModelError, ArtifactError: as `network_latency` does.
    """
    source = serialized(trace(model, inputs)) if isinstance(model, nn.Module) else model
    return Runner(source, threads, *map(as_array, leaves_of(inputs)))


def _repeated(example: Inputs, batch: int) -> Inputs:
    """Returns `batch` copies of the first example."""
    if batch < 1 or not len(example):
        raise ModelError(
            f"A network is timed on at least 1 example, but got batch={batch} and "
            f"{len(example)} examples; give one of each."
        )
    return moved(example[:1], lambda leaf: leaf.expand(batch, *leaf.shape[1:]))
