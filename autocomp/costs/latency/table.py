"""Measured times on disk, and what lies between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from threading import RLock

from filelock import FileLock

from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.machine import Machine
from autocomp.costs.latency.measure import measure_geometry
from autocomp.costs.latency.precision import FLOAT32, Precision
from autocomp.runtime import REPEATS
from autocomp.storage.sealed import Damaged, read_sealed, tell_damaged, write_sealed

VERSION = 3
"""Counts up when the same key would be measured in another way."""
STEPS = 8
"""Channel counts are measured at this many steps from none to all."""

Measure = Callable[[Geometry, Precision], int]
"""Returns nanoseconds, at least 1."""

_LOCK = RLock()
"""One measurement at a time in a process; no attribute, because tables are copied."""


class LatencyTable:
    """Nanoseconds of layers, each measured once on a machine.

    Times are kept in one JSON file per machine (processor, runtime version, threads) and measured
    when they are first asked for, one process at a time, because two would slow each other down. A
    file that cannot be read is as good as missing; a folder that cannot be written keeps nothing.

    Args:
        root: the cache folder, or None to keep nothing on disk.
        threads: threads within an operator, at least 1.
        repeats: timed calls of each measurement.
        machine: what the times belong to; this machine if None.
        measure: what measures; `measure_geometry` if None.
        steps: the grid of channel counts has this many steps.

    Nothing is measured, and no library loaded, before the first time is asked for.

    Attributes:
        elsewhere: whether the times are those of another device.
    """

    elsewhere = False

    def __init__(
        self,
        root: Path | None = None,
        threads: int = 1,
        repeats: int = REPEATS,
        machine: Machine | None = None,
        measure: Measure | None = None,
        steps: int = STEPS,
    ) -> None:
        self._root, self._threads, self._steps = root, threads, steps
        self.repeats = repeats
        self._given = machine
        self._measure = measure or partial(measure_geometry, threads=threads, repeats=repeats)
        self._known: dict[str, int] | None = None
        self._told = False
        self._floors: dict[tuple[Geometry, Precision], dict[tuple[int, int], int]] = {}

    @cached_property
    def machine(self) -> Machine:
        """What the times belong to; ModelError if onnxruntime is needed for that and missing."""
        return self._given or Machine.here(self._threads)

    @property
    def path(self) -> Path | None:
        """The file of this machine's times."""
        if self._root is None:
            return None
        return self._root / f"latency-{VERSION}" / f"{self.machine.digest}.json"

    @property
    def times(self) -> dict[str, int]:
        """Every time that is known, by its key."""
        return dict(sorted((self._known or {}).items()))

    def measured(self, geometry: Geometry, precision: Precision = FLOAT32) -> int:
        """Returns the measured nanoseconds of this very geometry."""
        job = _key(geometry, precision), partial(self._measure, geometry, precision)
        return self._fill([job])[job[0]]

    def recalled(self, key: str) -> int | None:
        """Returns another time that is known already; None if it is not."""
        with _LOCK:
            return {**self._read(), **(self._known or {})}.get(key)

    def number(self, key: str, measure: Callable[[], int]) -> int:
        """Returns another time that belongs to this machine, for instance of a whole network.

        Args:
            key: what was measured.
            measure: measures it in nanoseconds, at least 1, where it is not known yet.
        """
        return self._fill([(key, measure)])[key]

    def estimate(
        self,
        geometry: Geometry,
        precision: Precision = FLOAT32,
        inputs: int | None = None,
        outputs: int | None = None,
    ) -> int:
        """Returns the nanoseconds of a layer that has lost channels, estimated from a grid.

        The grid has the multiples of an eighth of all channels, and 1. A point's time is the least
        one measured there or at any point with at least as many inputs and outputs, because zeros
        could fill the layer up to that one; so fewer channels never take longer, and the whole
        layer's time is its measurement. Between points the times are bilinear, rounded down.

        Real times jump at the processor's vector width, and onnxruntime leaves its fast layout for
        odd counts. On a residual network of 32, 64 and 128 channels (one core, AVX-512), sliced
        networks differed from their estimates by at most 5 % where channels stayed in multiples of
        16, 9 % of 8, 13 % of 4, and by up to 22 % (estimated too fast) for any counts.

        Args:
            geometry: the layer with all its channels.
            precision: how it runs.
            inputs: inputs that stay, all if None.
            outputs: outputs that stay, all if None. Of a depthwise convolution, `inputs` decides.

        Raises:
            LayerError: if more channels are asked for than there are, or none.
        """
        asked = geometry.with_channels(
            geometry.inputs if inputs is None else inputs,
            geometry.outputs if outputs is None else outputs,
        )
        rows, columns = self._grid(geometry)
        r0, r1 = _around(rows, asked.inputs)
        c0, c1 = _around(columns, asked.outputs)
        floors = self._floors.setdefault((geometry, precision), {})
        if (rows[r0], columns[c0]) not in floors:
            floors.update(self._lower_right(geometry, precision, rows[r0:], columns[c0:]))
        corners = [[floors[rows[r], columns[c]] for c in (c0, c1)] for r in (r0, r1)]
        # whole numbers: rounding down keeps the order, whatever the machine
        left, right = asked.outputs - columns[c0], columns[c1] - asked.outputs
        if c0 == c1:
            left, right = 0, 1
        above, below = asked.inputs - rows[r0], rows[r1] - asked.inputs
        if r0 == r1:
            above, below = 0, 1
        top, bottom = (right * row[0] + left * row[1] for row in corners)
        return (below * top + above * bottom) // ((left + right) * (above + below))

    def _grid(self, geometry: Geometry) -> tuple[list[int], list[int]]:
        """Returns the measured counts of inputs and of outputs."""
        groups = geometry.groups
        if geometry.is_depthwise:  # the outputs follow from the inputs
            return self._axis(geometry.inputs, 1), [1]
        return self._axis(geometry.inputs, groups), self._axis(geometry.outputs, groups)

    def _axis(self, full: int, unit: int) -> list[int]:
        step = max(1, -(-full // (unit * self._steps))) * unit
        return sorted({unit, *range(step, full, step), full})

    def _lower_right(
        self, geometry: Geometry, precision: Precision, rows: list[int], columns: list[int]
    ) -> dict[tuple[int, int], int]:
        """Returns the grid's times, each the least of itself and all beyond it."""
        points = {
            (r, c): _key(geometry.with_channels(r, c), precision) for r in rows for c in columns
        }
        known = self._fill(
            [
                (key, partial(self._measure, geometry.with_channels(*point), precision))
                for point, key in points.items()
            ]
        )
        times = {point: known[key] for point, key in points.items()}
        for i in reversed(range(len(rows))):
            for j in reversed(range(len(columns))):
                beyond = [(rows[i], columns[j])]
                beyond += [(r, columns[j]) for r in rows[i + 1 : i + 2]]
                beyond += [(rows[i], c) for c in columns[j + 1 : j + 2]]
                times[beyond[0]] = min(times[point] for point in beyond)
        return times

    def _fill(self, jobs: list[tuple[str, Callable[[], int]]]) -> Mapping[str, int]:
        """Measures what is not known yet, and returns all known times."""
        with _LOCK:
            if self._known is None:
                self._known = self._read()
            if all(key in self._known for key, _ in jobs):
                return self._known
            with self._locked():
                # what is on disk was there first and stays: numbers never change
                self._known = {**self._known, **self._read()}
                try:
                    for key, measure in jobs:
                        if key not in self._known:
                            self._known[key] = max(1, int(measure()))
                finally:
                    self._write()
            return self._known

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path
        lock = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(f"{path}.lock")
                lock.acquire()
            except (OSError, NotImplementedError):  # read-only, or a disk without locks
                lock = None
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def _read(self) -> dict[str, int]:
        path = self.path
        if path is None or not path.exists():
            return {}
        try:
            times = read_sealed(path)["nanoseconds"]
            return {str(k): v for k, v in times.items() if type(v) is int and v > 0}
        except OSError:
            return {}
        except (Damaged, KeyError, TypeError, AttributeError):
            if not self._told:
                self._told = True
                tell_damaged(path)
            return {}

    def _write(self) -> None:
        path = self.path
        if path is None or self._known is None:
            return
        values = {
            "machine": asdict(self.machine),
            "repeats": self.repeats,
            "nanoseconds": dict(sorted(self._known.items())),
        }
        try:
            write_sealed(path, values)
        except OSError:
            return  # a cache that cannot be kept costs time, never a search


def _key(geometry: Geometry, precision: Precision) -> str:
    return f"{precision} {geometry.key}"


def _around(axis: list[int], value: int) -> tuple[int, int]:
    """Returns the places of the axis' points below and above, equal if it is one of them.

    A value below the first point, as with one group's worth of channels, takes the first.
    """
    if len(axis) == 1:
        return 0, 0
    place = bisect_left(axis, value)
    return (place, place) if axis[place] == value else (place - 1, place)
