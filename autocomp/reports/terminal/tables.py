"""The closing tables, as rich renderables; printing is the CLI's."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from autocomp.runs.closing import (
    HEAD,
    closing_rows,
    gain_sentence,
    miss_sentences,
    training_sentence,
)
from autocomp.runs.layer_result import LayerResult
from autocomp.runs.summary import Summary


def dense_against_compressed(summary: Summary) -> Table:
    """Returns the table of quality and costs, dense and compressed."""
    table = Table(title="Dense against compressed", box=box.SIMPLE_HEAD, title_justify="left")
    for name in HEAD:
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for row in closing_rows(summary):
        table.add_row(*row)
    return table


def layer_by_layer(summary: Summary) -> Table:
    """Returns the plan, a row per layer."""
    table = Table(title="The plan, layer by layer", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("layer", no_wrap=True, overflow="fold")
    table.add_column("shape", no_wrap=True)
    table.add_column("choice", no_wrap=True)
    for name in ("weights", "nonzero", "bytes", "of dense"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in summary.layers:
        size, dense = row.bytes, row.dense_bytes
        share = "" if size is None or dense is None else f"{size / max(1, dense):.1%}"
        counts = ("" if n is None else f"{n:,}" for n in (row.weights, row.nonzeros, size))
        table.add_row(Text(row.name), _shapes(row), row.choice, *counts, share)
    return table


def notes(summary: Summary) -> list[str]:
    """Returns the sentences under the tables."""
    lines = [
        f"{summary.evaluations} plans evaluated in {summary.seconds:.1f} s; the test split was "
        f"read once ({summary.test.n} images, +- is one standard error).",
        "MACs and BitOps count weights that are not pruned: a mask alone makes no network faster, "
        "fewer channels do.",
    ]
    if sentence := gain_sentence(summary):
        lines.insert(0, sentence)
    if sentence := training_sentence(summary):
        lines.insert(0, sentence)
    lines += miss_sentences(summary)
    if summary.left_dense:
        lines.append("Left dense: " + ", ".join(summary.left_dense) + ".")
    if summary.in_blocks:
        lines.append("Recovered in blocks of inputs: " + ", ".join(summary.in_blocks) + ".")
    if summary.estimated:
        lines.append(
            f"Menus of {len(summary.estimated)} costly layers were estimated from some of their "
            "outputs; every option of a plan that was evaluated is made and charged exactly."
        )
    if summary.by_gradients:
        lines.append(
            "What layers do to the outputs was estimated from gradients: measuring each would have "
            "taken minutes."
        )
    if summary.whole:
        kept = "; ".join(f"{name}: {why}" for name, why in summary.whole.items())
        lines.append(f"Groups that keep all their channels: {kept}.")
    return lines


def _shapes(row: LayerResult) -> str:
    """Returns the weight's shape, and what it became where that differs."""
    before = "x".join(map(str, row.shape))
    after = " + ".join("x".join(map(str, shape)) for shape in row.left)
    return f"{before} -> {after}" if after else before
