"""Times of layers that were measured on another device, brought here as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autocomp.costs.latency.cost import Latency
from autocomp.costs.latency.geometry import Geometry
from autocomp.costs.latency.machine import Machine
from autocomp.costs.latency.precision import FLOAT32, INT8
from autocomp.costs.latency.table import VERSION, LatencyTable
from autocomp.errors import BudgetError
from autocomp.storage.sealed import Damaged, read_sealed, seal, write_sealed

FORMAT = "autocomp device table"


class DeviceTable(LatencyTable):
    """Nanoseconds of a network's layers on another device; nothing is measured here.

    The file is JSON with a checksum: `format`, `version`, `machine` (processor, runtime, threads),
    `repeats` and `nanoseconds` (a layer's shape and arithmetic -> its time; the whole network's
    under a digest of its shapes). `autocomp measure MODEL --device-table FILE` writes it, on the
    device.

    Args:
        path: the file.

    Raises:
        BudgetError: if there is no such file, it is damaged, or of another version.
    """

    elsewhere = True

    def __init__(self, path: str | Path) -> None:
        self.file = Path(path)
        try:
            values = read_sealed(self.file)
        except OSError as error:
            raise BudgetError(
                f"A device table must be readable, but {str(path)!r} is not "
                f"({error.strerror or error}); write one on the device by `autocomp measure "
                "MODEL --device-table FILE`."
            ) from None
        except Damaged:
            raise BudgetError(
                f"A device table must be as it was written, but {str(path)!r} is not; copy it "
                "again."
            ) from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise BudgetError(
                f"{str(path)!r} must be a device table, but is not; write one on the device by "
                "`autocomp measure MODEL --device-table FILE`."
            )
        if values.get("version") != VERSION:
            raise BudgetError(
                f"A device table must be of version {VERSION}, but {str(path)!r} is of "
                f"{values.get('version')!r}; measure again with this autocomp on the device."
            )
        try:
            machine, repeats = Machine(**values["machine"]), _time(values["repeats"])
            _time(machine.threads)
            times = {str(key): _time(value) for key, value in values["nanoseconds"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise BudgetError(
                f"A device table must hold a machine and times in nanoseconds, but {str(path)!r} "
                "does not; write it again on the device."
            ) from None
        super().__init__(None, machine.threads, repeats, machine)
        self._known = times
        self.digest = seal(json.dumps(values, sort_keys=True).encode())

    def _fill(self, jobs: list[tuple[str, Callable[[], int]]]) -> Mapping[str, int]:
        """Returns the times; BudgetError if one is missing."""
        known = self._known or {}
        missing = next((key for key, _ in jobs if key not in known), None)
        if missing is not None:
            raise BudgetError(
                f"The device table must hold the network that is searched, but {str(self.file)!r} "
                f"has no time of {missing!r:.90}; measure this very network on the device."
            )
        return known


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(value)
    return value


def write_device_table(latency: Latency, path: Path) -> int:
    """Measures everything that a search may ask of a network's time, and writes it to a file.

    The whole network, and every layer in float32 and in 8 bits at all the counts of channels that
    estimates stand on.

    Args:
        latency: measures on this device.
        path: the file; it appears whole or not at all.

    Returns:
        How many times it holds.

    Raises:
        ModelError: if onnxruntime is missing.
        BudgetError: if the file cannot be written.
    """
    table, whole = latency.table, latency.reference
    table.number(latency.key_of_whole(code=False), lambda: whole)
    shapes = [g for g in latency.geometries.values() if isinstance(g, Geometry)]
    for geometry in dict.fromkeys(shapes):
        for precision in (FLOAT32, INT8):
            least = geometry.groups
            table.estimate(geometry, precision, least, least)
    values: dict[str, Any] = {
        "format": FORMAT, "version": VERSION, "machine": asdict(table.machine),
        "repeats": table.repeats, "nanoseconds": table.times,
    }  # fmt: skip
    try:
        write_sealed(path, values)
    except OSError as error:
        raise BudgetError(
            f"The device table must be writable, but {str(path)!r} is not "
            f"({error.strerror or error}); name another file."
        ) from None
    return len(table.times)
