"""The formats that a run's network can be exported to.

To add one, make an `Exporter` and register it in `EXPORTERS`, or under the entry-point group
`autocomp.exporters` of another package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autocomp.errors import ArtifactError
from autocomp.exporters.c_run import export_c_run
from autocomp.exporters.onnx_run import export_run
from autocomp.exporters.report import Exported
from autocomp.plugins.registry import find

GROUP = "autocomp.exporters"


@dataclass(frozen=True)
class Exporter:
    """A format.

    Attributes:
        suffix: how its files' names end, ".onnx".
        run: writes, loads, checks and times a file, as `export_run` does: called with the
            compressed file, the file to write, data, model and opset, and by name with `split`,
            `threads` and `task`.
    """

    suffix: str
    run: Callable[..., Exported]


EXPORTERS: dict[str, Any] = {
    "onnx": Exporter(".onnx", export_run),
    "c": Exporter(".h", export_c_run),
}


def exporter(name: str) -> Exporter:
    """Returns the exporter of a format.

    Raises:
        UnknownNameError: if nothing is registered so.
        ArtifactError: if what another package registers is no `Exporter`.
    """
    found: Any = find("format", name, EXPORTERS, GROUP)
    if not isinstance(found, Exporter):
        raise ArtifactError(
            f"A format must be an Exporter(suffix, run), but {name!r} is {found!r:.60}; register "
            "one."
        )
    return found
