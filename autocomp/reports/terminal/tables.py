"""The closing tables, as rich renderables; printing is the CLI's."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from autocomp.runs.summary import LayerRow, Summary
from autocomp.tasks.classification import Score


def dense_against_compressed(summary: Summary) -> Table:
    """Returns the table of accuracy and costs, dense and compressed."""
    table = Table(title="Dense against compressed", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("", "dense", "compressed", "ratio", "budget"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    table.add_row("search accuracy", *_accuracies(summary.search_dense, summary.search))
    table.add_row("test accuracy", *_accuracies(summary.test_dense, summary.test))
    for cost, after in summary.compressed.items():
        before, unit = summary.dense[cost], summary.units[cost]
        limit = summary.limits.get(cost)
        label = "file" if cost == "size" else cost
        table.add_row(
            f"{label} ({unit})" if unit.lower() != label.lower() else unit,
            f"{before:,}",
            f"{after:,}",
            f"{after / before:.2%}" if before else "",
            "" if limit is None else f"<= {limit:,}",
        )
    for cost, (before, after) in summary.measured.items():
        label = f"{cost}, measured ({summary.units[cost]})"
        table.add_row(label, f"{before:,}", f"{after:,}", f"{after / max(1, before):.2%}", "")
    return table


def layer_by_layer(summary: Summary) -> Table:
    """Returns the plan, a row per layer."""
    table = Table(title="The plan, layer by layer", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer", no_wrap=True, overflow="fold")
    table.add_column("shape", no_wrap=True)
    table.add_column("choice", no_wrap=True)
    for name in ("weights", "kept", "bytes", "of dense"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.layers:
        table.add_row(
            Text(row.name), _shapes(row), row.choice, f"{row.weights:,}",
            f"{row.kept:,}", f"{row.bytes:,}", f"{row.bytes / max(1, row.dense_bytes):.1%}",
        )  # fmt: skip
    return table


def notes(summary: Summary) -> list[str]:
    """Returns the sentences under the tables."""
    lines = [
        f"{summary.evaluations} plans evaluated in {summary.seconds:.1f} s; the test split was "
        f"read once ({summary.test.n} images, +- is one standard error).",
        "MACs and BitOps count weights that are not pruned: a mask alone makes no network faster, "
        "fewer channels do.",
    ]
    if summary.left_dense:
        lines.append("Left dense: " + ", ".join(summary.left_dense) + ".")
    if summary.in_blocks:
        lines.append("Recovered in blocks of inputs: " + ", ".join(summary.in_blocks) + ".")
    if summary.whole:
        kept = "; ".join(f"{name}: {why}" for name, why in summary.whole.items())
        lines.append(f"Groups that keep all their channels: {kept}.")
    return lines


def _shapes(row: LayerRow) -> str:
    """Returns the weight's shape, and what it became where that differs."""
    before = "x".join(map(str, row.shape))
    after = " + ".join("x".join(map(str, shape)) for shape in row.left)
    return f"{before} -> {after}" if after else before


def _accuracies(dense: Score, compressed: Score) -> tuple[str, str, str]:
    return _percent(dense), _percent(compressed), f"{compressed.accuracy - dense.accuracy:+.2%}"


def _percent(score: Score) -> str:
    return f"{score.accuracy:.2%} +- {score.standard_error:.2%}"
