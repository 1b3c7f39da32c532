"""onnxruntime: sessions with pinned threads, and the median time of a call."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from autocomp.errors import ModelError
from autocomp.plugins.imports import describe, optional_import

REPEATS = 50
"""Timed calls, unless told otherwise."""
WARM_UP = 3
"""Calls before the first timed one; memory is laid out and caches are filled in them."""
ENOUGH = 10**9
"""Nanoseconds after which five repeats are enough."""

Clock = Callable[[], int]
"""Nanoseconds since some moment."""


def is_available() -> bool:
    """Says whether onnx and onnxruntime are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def onnxruntime() -> ModuleType:
    """Returns the library; ModelError that names the extra if it is missing."""
    return optional_import("onnxruntime", "onnx", ModelError)


class Runner:
    """A network in onnxruntime, ready to be called on one input.

    Args:
        model: an ONNX file's bytes or path, with one input.
        threads: threads within an operator, at least 1; operators run one after the other.
        example: the input.

    Raises:
        ModelError: if onnxruntime is missing, or cannot run the model.
    """

    def __init__(self, model: bytes | Path, threads: int, example: np.ndarray[Any, Any]) -> None:
        if threads < 1:
            raise ModelError(f"`threads` must be at least 1, but got {threads}; change it.")
        library = onnxruntime()
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = library.InferenceSession(
                model if isinstance(model, bytes) else str(model),
                options,
                providers=["CPUExecutionProvider"],
            )
            self._binding = self._session.io_binding()
            self._binding.bind_cpu_input(self._session.get_inputs()[0].name, example)
            for output in self._session.get_outputs():
                self._binding.bind_output(output.name)
            self()
        except Exception as error:  # onnxruntime has a class an error code, below Exception
            raise ModelError(
                f"onnxruntime must run the network, but raised {describe(error)}; "
                "measure without latency, or change what it does not know."
            ) from error

    def __call__(self) -> None:
        """Runs the network once."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[np.ndarray[Any, Any]]:
        """Returns what the latest call gave."""
        arrays: list[np.ndarray[Any, Any]] = self._binding.copy_outputs_to_cpu()
        return arrays


def median_time(
    run: Callable[[], object],
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter_ns,
    before: Callable[[], object] | None = None,
) -> int:
    """Returns the median time of a call in whole nanoseconds, after `WARM_UP` calls.

    Args:
        run: what is timed.
        repeats: timed calls, at least 1; from five on, no more than fit into `ENOUGH`.
        clock: tells the time.
        before: called before each call, outside the time.
    """
    return int(statistics.median(interleaved([run], repeats, clock, before)[0]))


def interleaved(
    runs: list[Callable[[], object]],
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter_ns,
    before: Callable[[], object] | None = None,
) -> list[list[int]]:
    """Returns the times of every function's calls, in nanoseconds; they take turns.

    A machine that slows down for a while slows all of them down.

    Args:
        runs: what is timed.
        repeats: timed calls of each, at least 1; from five on, no more than fit into `ENOUGH`.
        clock: tells the time.
        before: called before each call, outside the time.

    Raises:
        ModelError: if `repeats` is below 1.
    """
    if repeats < 1:
        raise ModelError(f"`repeats` must be at least 1, but got {repeats}; change it.")
    times: list[list[int]] = [[] for _ in runs]
    for run in runs:
        for _ in range(WARM_UP):
            run()
    begin = clock()
    for done in range(repeats):
        if done >= 5 and clock() - begin > ENOUGH * len(runs):
            break
        for run, kept in zip(runs, times, strict=True):
            if before is not None:
                before()
            start = clock()
            run()
            kept.append(clock() - start)
    return times
