"""The plan, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autocomp.inspection.planned import is_outdated, planned_rows
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Prose, Table
from autocomp.reports.html.figures import Key, Panel, Rows, Trace, colour, wrapped
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import percent, shape_of
from autocomp.runs.layer_result import LayerResult

_BITS = (8, 16, 32)


def plan_layers(record: RunRecord) -> Section | None:
    """Returns the best plan's bars over the network's depth; None without a plan."""
    rows = planned_rows(record)
    if not rows:
        return None
    bits = _activation_bits(record, rows)
    hover = [_hover(row, rows, bits[place]) for place, row in enumerate(rows)]
    blocks: list[Block] = []
    if is_outdated(record):
        blocks.append(
            Prose(
                ("What was found out about this run is about an earlier best plan; make the report "
                 "again for the present one.",),
                warning=True,
            )
        )  # fmt: skip
    panels = [
        panel
        for panel in (
            _share("Zero weights (%)", [row.sparsity for row in rows], hover, always=True),
            _share("Channels kept (%)", [row.channels for row in rows], hover),
            _share("Rank kept (%)", [row.rank for row in rows], hover),
            _bits("Weight bits", [row.weight_bits for row in rows], hover),
            _bits("Activation bits", bits, hover) if min(bits) < 32 else None,
            _amount("Bytes", [(row.dense_bytes, row.bytes) for row in rows], hover),
            _amount("MACs", [(row.dense_macs, row.macs) for row in rows], hover),
        )
        if panel is not None
    ]
    blocks += [
        Rows(
            "Choices and costs over the network's depth",
            [row.name for row in rows],
            panels,
            note="Input at the top, output at the bottom.",
            keys=(Key("compressed", "compressed", "bar"), Key("dense", "track", "bar")),
        ),
        _table(rows, bits),
    ]
    lead = (
        "What is done to each layer, and what that saves. Long bars of zeros and few bits mark the "
        "layers that the search found to be robust; the others carry the result."
    )
    return Section("plan", "The plan, layer by layer", lead, tuple(blocks))


def _activation_bits(record: RunRecord, rows: Sequence[LayerResult]) -> list[int]:
    plan = record.best.plan if record.best is not None else {}
    return [plan[row.name].activations.bits if row.name in plan else 32 for row in rows]


def _hover(row: LayerResult, rows: Sequence[LayerResult], activation_bits: int) -> str:
    lines = [f"<b>{wrapped(row.name, 34)}</b>"]
    if row.kind:
        lines.append(wrapped(f"{row.kind} {shape_of(row.shape)}"))
    lines += [
        wrapped(row.choice),
        f"{percent(row.sparsity, 1)} zero, {row.weight_bits}-bit weights",
    ]
    if activation_bits < 32:
        lines.append(f"{activation_bits}-bit activations")
    if row.channels < 1:
        lines.append(f"{percent(row.channels, 1)} of the channels")
    if row.rank < 1:
        lines.append(f"{percent(row.rank, 1)} of the rank")
    lines += _saved("bytes", row, rows, lambda r: r.dense_bytes, lambda r: r.bytes)
    lines += _saved("MACs", row, rows, lambda r: r.dense_macs, lambda r: r.macs)
    return "<br>".join(lines)


Number = Callable[[LayerResult], int | None]


def _saved(
    unit: str, row: LayerResult, rows: Sequence[LayerResult], dense: Number, after: Number
) -> list[str]:
    """Returns what the layer costs, and its share of everything that was saved."""
    before, now = dense(row), after(row)
    if before is None or now is None:
        return []
    total = sum((dense(other) or 0) - (after(other) or 0) for other in rows)
    share = f", {percent((before - now) / total, 1)} of all" if total > 0 else ""
    return [f"{now:,} of {before:,} {unit}", f"saves {before - now:,} {unit}{share}"]


def _bar(values: Sequence[Any], hover: Sequence[str], texts: Sequence[str] | None) -> Trace:
    trace: dict[str, Any] = {
        "type": "bar",
        "y": list(range(len(values))),
        "x": list(values),
        "hovertext": list(hover),
        "hoverinfo": "text",
        "marker": {"color": colour("compressed")},
    }
    if texts is not None:
        trace |= {"text": list(texts), "textposition": "outside", "cliponaxis": False}
        trace |= {"textfont": {"size": 11, "color": colour("soft")}, "textangle": 0}
    return trace


def _track(values: Sequence[Any]) -> Trace:
    return {
        "type": "bar",
        "y": list(range(len(values))),
        "x": list(values),
        "hoverinfo": "skip",
        "marker": {"color": colour("track")},
    }


def _share(
    title: str, values: Sequence[float], hover: Sequence[str], always: bool = False
) -> Panel | None:
    if not always and min(values) == 1:
        return None
    texts = [f"{100 * value:.3g}" for value in values]
    axis = {"range": [0, 132], "tickvals": [0, 50, 100], "ticktext": ["0", "50", "100"]}
    return Panel(title, (_bar([100 * value for value in values], hover, texts),), axis)


def _bits(title: str, values: Sequence[int], hover: Sequence[str]) -> Panel:
    top = next(bits for bits in _BITS if max(values) <= bits)
    ticks = [0, top // 2, top]
    axis = {"range": [0, 1.25 * top], "tickvals": ticks, "ticktext": [str(tick) for tick in ticks]}
    return Panel(title, (_bar(values, hover, [str(value) for value in values]),), axis)


def _amount(
    title: str, pairs: Sequence[tuple[int | None, int | None]], hover: Sequence[str]
) -> Panel | None:
    if any(before is None or after is None for before, after in pairs):
        return None
    before, after = zip(*pairs, strict=True)
    return Panel(title, (_track(before), _bar(after, hover, None)), {"rangemode": "tozero"})


def _table(rows: Sequence[LayerResult], bits: Sequence[int]) -> Table:
    def pair(before: int | None, after: int | None) -> tuple[str, str, str]:
        if before is None or after is None:
            return "", "", ""
        return f"{before:,}", f"{after:,}", percent(after / max(1, before), 1)

    return Table(
        ("layer", "kind", "weight", "choice", "zero", "weight bits", "activation bits",
         "dense bytes", "bytes", "of dense", "dense MACs", "MACs", "of dense"),
        [
            (
                row.name, row.kind, shape_of(row.shape), row.choice, percent(row.sparsity, 1),
                str(row.weight_bits), str(bits[place]), *pair(row.dense_bytes, row.bytes),
                *pair(row.dense_macs, row.macs),
            )
            for place, row in enumerate(rows)
        ],
        "All numbers as a table", texts=4, folded=True,
    )  # fmt: skip
