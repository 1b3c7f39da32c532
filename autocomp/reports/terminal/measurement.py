"""What a network costs, as a table; printing is the CLI's."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from autocomp.inspection.measurement import Measurement


def measurement_table(measurement: Measurement) -> Table:
    """Returns a row per layer, one for all else, and the totals."""
    m = measurement
    table = Table(title="The network, layer by layer", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer", no_wrap=True, overflow="fold")
    for name in ("weight", "output"):
        table.add_column(name, no_wrap=True)
    for name in ("params", "bytes", "MACs", "BitOps", "us", "activation bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in m.layers:
        table.add_row(
            Text(f"{row.name} (frozen)" if row.frozen else row.name),
            "x".join(map(str, row.shape)), "x".join(map(str, row.output_shape)) or "never called",
            f"{row.params:,}", f"{row.bytes:,}", f"{row.macs:,}", f"{row.bitops:,}",
            _microseconds(row.nanoseconds), f"{row.activation_bytes:,}",
        )  # fmt: skip
    times = sum(row.nanoseconds or 0 for row in m.layers)
    rest = None if m.nanoseconds is None else max(0, m.nanoseconds - times)
    params, size = sum(row.params for row in m.layers), sum(row.bytes for row in m.layers)
    table.add_row(
        "all else", "", "", f"{m.params - params:,}", f"{max(0, m.bytes - size):,}",
        f"{m.macs - sum(row.macs for row in m.layers):,}",
        f"{m.bitops - sum(row.bitops for row in m.layers):,}", _microseconds(rest), "",
        end_section=True,
    )  # fmt: skip
    table.add_row(
        "network", "", "", f"{m.params:,}", f"{m.bytes:,}", f"{m.macs:,}", f"{m.bitops:,}",
        _microseconds(m.nanoseconds), f"{m.peak_activation_bytes:,}",
    )  # fmt: skip
    return table


def measurement_notes(measurement: Measurement) -> list[str]:
    """Returns the sentences under the table."""
    lines = [
        "For one example. A layer's activation bytes are its input and output; the network's are "
        "the most that live at once. MACs are those of convolutions, matrix products, attention "
        "and recurrent layers; element-wise operations are not counted."
    ]
    if measurement.uncounted:
        lines.append("Not counted as MACs: " + ", ".join(measurement.uncounted) + ".")
    if measurement.nanoseconds is None:
        lines.append(f"No times: {measurement.latency_problem}")
    else:
        lines.append(f"Times: median, {measurement.machine}; layers are measured on their own.")
    if measurement.unmeasured:
        lines.append("Timed with all else: " + ", ".join(measurement.unmeasured) + ".")
    lines.append(
        f"A search's tables will take about {measurement.tables} with nothing in the cache (128 "
        "calibration inputs, the default space, as many threads as torch has here)."
    )
    return lines


def _microseconds(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else f"{nanoseconds / 1000:,.1f}"
