"""An export as a table and sentences; printing is the CLI's."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from autocomp.exporters.report import Exported


def export_table(found: Exported) -> Table:
    """Returns how each layer is stored and computed."""
    table = Table(title="The file, layer by layer", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("layer", "choice", "stored", "computed by", "size only because"):
        table.add_column(name, no_wrap=name != "size only because", overflow="fold")
    for layer in found.report.layers:
        table.add_row(
            Text(layer.name), layer.choice, layer.stored, layer.kernel, Text(layer.size_only)
        )
    return table


def export_notes(found: Exported, split: str) -> list[str]:
    """Returns the sentences under the table."""
    check, report = found.check, found.report
    alike = "" if check.agreement is None else f"{check.agreement:.2%} of the decisions alike, "
    lines = [
        f"{split}: {check.metric.name} {check.metric.text(check.quality)} from the file, "
        f"{check.metric.text(check.network_quality)} from the network, {alike}on {check.n} "
        f"samples, outputs within {check.largest_difference:.3g}.",
        f"{report.bytes:,} bytes{f', opset {report.opset}' if report.opset else ''}; the same "
        "shapes in float32 take "
        f"{found.float_bytes:,} bytes.",
        f"{found.seconds * 1e6:,.0f} us an image, {found.float_seconds * 1e6:,.0f} us in float32 "
        f"({found.speedup:.2f} times as fast; median, {found.threads} thread"
        f"{'s' if found.threads > 1 else ''}, side by side).",
        "Sparsity makes the file of a search smaller, not this one: it is size only.",
    ]
    if report.size_only:
        lines.append("Size only: " + ", ".join(report.size_only) + ".")
    return [*lines, *report.notes]
