"""The clock: medians of calls that take turns, after a warm-up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from autocomp.errors import ModelError

REPEATS = 50
"""Timed calls, unless told otherwise."""
WARM_UP = 3
"""Calls before the first timed one; memory is laid out and caches are filled in them."""
ENOUGH = 10**9
"""Nanoseconds after which five repeats are enough."""

Clock = Callable[[], int]
"""Nanoseconds since some moment."""


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
        before: called before each timed call, outside the time.

    Raises:
        ModelError: if `repeats` is below 1.
    """
    return int(statistics.median(interleaved([run], repeats, clock, before)[0]))


def interleaved(
    runs: Sequence[Callable[[], object]],
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter_ns,
    before: Callable[[], object] | None = None,
) -> list[list[int]]:
    """Returns the times of every function's calls, in nanoseconds; they take turns.

    A machine that slows down for a while slows all of them down.

    Args:
        runs: what is timed.
        repeats: timed calls of each, at least 1; from five on, no more than fit into `ENOUGH` for
            each of `runs`.
        clock: tells the time.
        before: called before each timed call, outside the time.

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
