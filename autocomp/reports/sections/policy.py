"""What a learned policy does: over budgets and layers, and what its critic thinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autocomp.inspection.layer_multiplier import LayerMultiplier
from autocomp.inspection.policy import PolicyPicture, Surface
from autocomp.inspection.record import RunRecord
from autocomp.reports.html.blocks import Prose
from autocomp.reports.html.figures import (
    Figure,
    Gallery,
    Key,
    Panel,
    Rows,
    Scale,
    colour,
    colour_scale,
    plain,
    wrapped,
)
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.wording import sentence, short

_LOOKS = 24
"""Looks at a policy that are shown at most; of more, evenly spaced ones."""


def policy(record: RunRecord) -> Section | None:
    """Returns the learned policy's pictures; a reason if they are missing; None otherwise."""
    found = record.findings
    if found is None:
        return None
    if found.policy is None:
        if found.multipliers:
            return _multipliers(found.multipliers)
        if "policy" not in found.left_out:
            return None
        prose = Prose((sentence(found.left_out["policy"]),))
        return Section("policy", "What the agent learned", "", (prose,))
    picture = found.policy
    blocks: list[Block] = []
    if picture.sweep.budgets:
        blocks += [_actions(picture), _estimates(picture, found.metric.divergence_unit)]
    if picture.influences:
        blocks.append(_influences(picture))
    if picture.surfaces:
        figures = [(surface.layer, _surface(surface, picture)) for surface in picture.surfaces]
        blocks.append(Gallery("Layer", figures))
    if picture.movement.evaluations:
        blocks.append(_movement(picture))
    lead = (
        f"The saved {picture.algorithm} network, replayed on this problem. Actions lie in [-1, 1], "
        f"one number each for {_listed(picture.entries)}, and larger ones keep more; what is shown "
        "was executed, after the budget had its say."
    )
    return Section("policy", "What the agent learned", lead, tuple(blocks))


def _multipliers(found: Sequence[LayerMultiplier]) -> Section:
    """Returns what the posterior agent has learned of each layer."""

    def panel(title: str, values: list[float], deviations: list[float], neutral: float) -> Panel:
        bar = {
            "type": "scatter",
            "mode": "markers",
            "y": list(range(len(values))),
            "x": values,
            "error_x": {"type": "data", "array": deviations, "color": colour("soft")},
            "hovertext": [
                f"<b>{wrapped(m.layer, 34)}</b><br>{short(value)} +- {short(deviation)}"
                for m, value, deviation in zip(found, values, deviations, strict=True)
            ],
            "hoverinfo": "text",
            "marker": {"color": colour("compressed")},
        }
        line = {
            "type": "scatter", "mode": "lines", "x": [neutral, neutral],
            "y": [-0.5, len(values) - 0.5], "line": {"color": colour("soft"), "dash": "dot"},
            "hoverinfo": "skip",
        }  # fmt: skip
        return Panel(title, (line, bar), {})

    rows = Rows(
        "What was learned of the layers' estimated losses",
        [m.layer for m in found],
        (
            panel("Multiplier", [m.multiplier for m in found], [m.deviation for m in found], 1.0),
            panel("Bend", [m.bend for m in found], [m.bend_deviation for m in found], 0.0),
        ),
        note="Posterior means and standard deviations; the dotted line is what is estimated.",
    )
    lead = (
        "A choice of estimated loss L counts as (multiplier + bend ln(L / L(start))) L. A "
        "multiplier above 1 says that a layer matters more than is estimated from it alone; a "
        "positive bend, that strong compression hurts it more."
    )
    return Section("policy", "What the agent learned", lead, (rows,))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def _heat(
    values: Sequence[Sequence[float]], hover: Sequence[Sequence[str]], xs: Sequence[float]
) -> dict[str, Any]:
    """Returns a heat map of actions, `[layer][x]`."""
    return {
        "type": "heatmap",
        "x": list(xs),
        "y": list(range(len(values))),
        "z": values,
        "zmin": -1,
        "zmax": 1,
        "hovertext": hover,
        "hoverinfo": "text",
        "colorscale": colour_scale("diverging"),
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }


def _actions(picture: PolicyPicture) -> Rows:
    sweep = picture.sweep
    places = list(range(len(sweep.budgets)))
    axis = {"tickvals": places, "ticktext": [
        f"{budget} (this run)" if place == sweep.own else budget
        for place, budget in enumerate(sweep.budgets)
    ]}  # fmt: skip
    panels = []
    for entry, name in enumerate(picture.entries):
        values = [[sweep.actions[b][t][entry] for b in places] for t in range(len(picture.layers))]
        hover = [
            [
                f"<b>{wrapped(layer, 34)}</b><br>{plain(sweep.budgets[b])}<br>"
                f"{plain(name)}: {short(values[t][b])}<br>{wrapped(sweep.choices[b][t])}"
                for b in places
            ]
            for t, layer in enumerate(picture.layers)
        ]
        panels.append(Panel(name, (_heat(values, hover, places),), axis, 15 * len(places)))
    return Rows(
        "Action by layer and budget",
        picture.layers,
        panels,
        note="Tight budgets stand at the left. Rows that keep their colour are layers that the "
        "policy treats alike whatever the budget.",
        scale=Scale("action -1", "+1", "diverging"),
    )


def _estimates(picture: PolicyPicture, nats: str) -> Figure:
    sweep = picture.sweep
    places = list(range(len(sweep.budgets)))

    def line(name: str, values: Sequence[float], shade: str, dash: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "x": places,
            "y": list(values),
            "hovertext": [
                f"{name} at {plain(budget)}<br>{short(value)} {nats}"
                for budget, value in zip(sweep.budgets, values, strict=True)
            ],
            "hoverinfo": "text",
            "line": {"color": colour(shade), "dash": dash, "width": 2},
            "marker": {"color": colour(shade), "size": 7},
        }

    texts = [plain(budget) for budget in sweep.budgets]
    layout = {
        "xaxis": {"tickvals": places, "ticktext": texts, "tickangle": -90,
                  "range": [-0.4, len(places) - 0.6]},
        "yaxis": {"title": {"text": f"estimated loss ({nats})"}, "type": "log",
                  "exponentformat": "power"},
    }  # fmt: skip
    return Figure(
        "Estimated loss (F0) over budgets",
        (line("policy", sweep.estimated, "compressed", "solid"),
         line("exact solver", sweep.solver, "solver", "dash")),
        layout, 340, half=True,
        note="Where the lines lie close, the policy has learned what the solver computes.",
        keys=(Key("policy", "compressed"), Key("exact solver", "solver", "dashed")),
    )  # fmt: skip


def _influences(picture: PolicyPicture) -> Rows:
    effects = [influence.effect for influence in picture.influences]
    bar = {
        "type": "bar",
        "y": list(range(len(effects))),
        "x": effects,
        "hovertext": [
            f"<b>{wrapped(influence.feature, 34)}</b><br>moves the action by "
            f"{short(influence.effect)} on average"
            for influence in picture.influences
        ],
        "hoverinfo": "text",
        "marker": {"color": colour("compressed")},
    }
    return Rows(
        "What the action depends on",
        [influence.feature for influence in picture.influences],
        (Panel("Mean change of the action", (bar,), {"rangemode": "tozero"}),),
        half=True,
        note="When one observation feature is shuffled over layers and budgets; the action's "
        "interval is 2 wide.",
    )


def _surface(surface: Surface, picture: PolicyPicture) -> Figure:
    entries, unit = picture.entries, plain(picture.unit)
    flat = len(surface.ys) == 1
    values = surface.values
    layout: dict[str, Any] = {"xaxis": {"title": {"text": plain(entries[0])}}, "yaxis": {}}
    at = surface.at
    here = {
        "type": "scatter", "mode": "markers", "x": [at[0]],
        "hovertext": [f"the policy's action: {', '.join(short(entry) for entry in at)}"],
        "hoverinfo": "text",
        "marker": {"size": 14, "symbol": "x", "color": colour("dense"),
                   "line": {"color": colour("page"), "width": 1.5}},
    }  # fmt: skip
    shown: dict[str, Any]
    if flat:
        nearest = min(range(len(surface.xs)), key=lambda i: abs(surface.xs[i] - at[0]))
        here["y"] = [values[0][nearest]]
        shown = {
            "type": "scatter", "mode": "lines", "x": surface.xs, "y": values[0],
            "hovertext": [
                f"{short(x)}: {short(value)}"
                for x, value in zip(surface.xs, values[0], strict=True)
            ],
            "hoverinfo": "text", "line": {"color": colour("compressed"), "width": 2},
        }  # fmt: skip
        layout["yaxis"] = {"title": {"text": unit}}
    else:
        here["y"] = [at[1]]
        shown = {
            "type": "heatmap", "x": surface.xs, "y": surface.ys, "z": values, "showscale": False,
            "colorscale": colour_scale("sequential"), "zsmooth": "best",
            "hovertemplate": f"{plain(entries[0])} %{{x:.2f}}<br>{plain(entries[1])} %{{y:.2f}}<br>"
            "value %{z:.4g}<extra></extra>",
        }  # fmt: skip
        layout["yaxis"] = {"title": {"text": plain(entries[1])}}
    lowest, highest = min(map(min, values)), max(map(max, values))
    return Figure(
        "What the critic expects of each action",
        (shown, here),
        layout,
        400,
        note=f"Between {short(lowest)} and {short(highest)} ({picture.unit}). The cross should "
        "stand where the value is greatest.",
        keys=(Key("the policy's action", "dense", "cross"),),
        scale=None if flat else Scale("low value", "high value"),
    )


def _movement(picture: PolicyPicture) -> Rows:
    movement = picture.movement
    looks = len(movement.evaluations)
    wanted = min(looks, _LOOKS)
    kept = [round(i * (looks - 1) / max(1, wanted - 1)) for i in range(wanted)]
    labels = [f"{movement.evaluations[look]:,}" for look in kept]
    places = list(range(len(kept)))
    panels = []
    for entry, name in enumerate(picture.entries):
        values = [
            [movement.actions[look][t][entry] for look in kept] for t in range(len(picture.layers))
        ]
        hover = [
            [
                f"<b>{wrapped(layer, 34)}</b><br>after {labels[place]} evaluations<br>"
                f"{plain(name)}: {short(values[t][place])}"
                for place in places
            ]
            for t, layer in enumerate(picture.layers)
        ]
        axis = {"tickvals": places, "ticktext": labels}
        heat = _heat(values, hover, places)
        panels.append(Panel(f"{name}, by evaluations", (heat,), axis, 15 * len(places)))
    return Rows(
        "How the policy moved during training",
        picture.layers,
        panels,
        note="Time runs to the right; where the colours stop changing, the policy has settled.",
        scale=Scale("action -1", "+1", "diverging"),
    )
