"""Each layer's error curve, and the marginal price of a unit of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autocomp.inspection.curve import ErrorCurve
from autocomp.inspection.findings import Findings
from autocomp.inspection.price import Price
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Prose
from autocomp.reports.html.figures import Figure, Gallery, Key, Panel, Rows, colour, plain, wrapped
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import sentence, short

_PER = 1000
"""Prices are shown per this many units."""


def curves(record: RunRecord) -> Section | None:
    """Returns curves and prices; a reason if they are missing; None if nobody looked."""
    found = record.findings
    if found is None:
        return None
    blocks: list[Block] = []
    for name in ("curves", "prices"):
        if name in found.left_out:
            blocks.append(Prose((sentence(f"No {name}: {found.left_out[name]}"),)))
    if found.curves:
        figures = [(curve.layer, _figure(curve, found)) for curve in found.curves]
        blocks.append(Gallery("Layer", figures, half=bool(found.prices) and len(figures) <= 24))
    if found.prices:
        blocks.append(_prices(found, half=bool(found.curves) and len(found.prices) <= 24))
        blocks.append(Prose((_advice(found.prices, found.unit, found.metric.divergence_unit),)))
    if not blocks:
        return None
    lead = (
        f"What each choice of a layer costs in {found.unit}, and what it alone is estimated to add "
        "to the divergence of the outputs (F0). A good plan stops every layer where the curve is "
        "equally steep; the price is that slope."
    )
    return Section("curves", "Error curves and prices", lead, tuple(blocks))


def _figure(curve: ErrorCurve, found: Findings) -> Figure:
    nats = found.metric.divergence_unit
    losses = [point.loss for point in curve.points if point.loss > 0]
    floor = min(losses, default=1e-6) / 3

    def points(places: Sequence[int]) -> dict[str, Any]:
        chosen = [curve.points[place] for place in places]
        return {
            "type": "scatter",
            "x": [point.cost for point in chosen],
            "y": [max(point.loss, floor) for point in chosen],
            "text": [wrapped(point.choice) for point in chosen],
            "customdata": [point.loss for point in chosen],
            "hovertemplate": f"%{{text}}<br>%{{x:,}} {plain(found.unit)}<br>"
            f"%{{customdata:.3~g}} {nats}<extra></extra>",
        }

    on_front = set(curve.front)
    others = [place for place in range(len(curve.points)) if place not in on_front]
    traces = [
        {**points(others), "mode": "markers",
         "marker": {"size": 5, "opacity": 0.55, "color": colour("soft")}},
        {**points(curve.front), "mode": "lines+markers",
         "marker": {"size": 5, "color": colour("ink")},
         "line": {"color": colour("ink"), "width": 1.5}},
        {**points([curve.solver]), "mode": "markers",
         "marker": {"size": 16, "symbol": "square-open", "color": colour("solver"),
                    "line": {"width": 2.5}}},
    ]  # fmt: skip
    if curve.chosen is not None:
        marker = {"size": 11, "symbol": "diamond", "color": colour("compressed")}
        traces.append({**points([curve.chosen]), "mode": "markers", "marker": marker})
    layout = {
        "xaxis": {"title": {"text": plain(f"{found.cost} of the layer ({found.unit})")},
                  "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"estimated loss ({nats})"}, "type": "log",
                  "exponentformat": "power", "dtick": 1},
    }  # fmt: skip
    note = "The loss is on a logarithmic axis; a choice without loss stands at its foot."
    if curve.chosen is None:
        note += " The plan's choice is not one of the menu."
    keys = (
        Key("each choice", "soft", "dot"),
        Key("choices that no other undercuts", "ink"),
        Key("the plan's", "compressed", "diamond"),
        Key("the exact solver's", "solver", "square"),
    )
    return Figure("Error curve", traces, layout, 400, note=note, keys=keys)


def _prices(found: Findings, half: bool) -> Rows:
    prices, unit, nats = found.prices, found.unit, found.metric.divergence_unit
    places = list(range(len(prices)))
    hover = [_price(price, unit, nats) for price in prices]
    bar = {"type": "bar", "y": places, "hovertext": hover, "hoverinfo": "text"}
    axis = {"rangemode": "tozero", "exponentformat": "power"}
    saved = [None if p.saved is None else _PER * p.saved for p in prices]
    gained = [_PER * p.next_saving / p.next_cost if p.next_cost > 0 else None for p in prices]
    panels = (
        Panel(
            f"Giving back costs ({nats} per {_PER:,} {unit})",
            ({**bar, "x": saved, "marker": {"color": colour("dense")}},),
            axis,
            130,
        ),
        Panel(
            f"The next step saves ({nats} per {_PER:,} {unit})",
            ({**bar, "x": gained, "marker": {"color": colour("compressed")}},),
            axis,
            130,
        ),
    )
    note = "What a layer would lose by its last step down its curve, and gain by its next step up."
    return Rows("Marginal price at each layer", [p.layer for p in prices], panels, half, note)


def _price(price: Price, unit: str, nats: str) -> str:
    unit = plain(unit)
    last = (
        "at the foot of its curve: nothing to give back"
        if price.saved is None
        else f"giving back: {short(_PER * price.saved)} {nats} per {_PER:,} {unit}"
    )
    step = (
        f"next: {wrapped(price.next_choice)}<br>for {price.next_cost:,} {unit} it saves "
        f"{short(price.next_saving)} {nats}"
        if price.next_choice
        else "at the top of its curve: nothing to buy"
    )
    return f"<b>{wrapped(price.layer, 34)}</b><br>{last}<br>{step}"


def _advice(prices: Sequence[Price], unit: str, nats: str) -> str:
    wanted = [p for p in prices if p.next_choice and p.next_cost > 0]
    if not wanted:
        return "Every layer is at the top of its curve: more budget would buy nothing."
    best = max(wanted, key=lambda p: p.next_saving / p.next_cost)
    return (
        f"More {unit} would buy most at {best.layer}: {best.next_choice} there takes another "
        f"{best.next_cost:,} and is estimated to save {short(best.next_saving)} {nats}."
    )
