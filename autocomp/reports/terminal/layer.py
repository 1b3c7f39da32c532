"""Everything that is known of one layer, for a terminal."""

from __future__ import annotations

import math

from rich.console import RenderableType
from rich.table import Table

from autocomp.inspection.curve import ErrorCurve
from autocomp.inspection.findings import Findings
from autocomp.inspection.policy import PolicyPicture, Surface
from autocomp.inspection.study import Parameter
from autocomp.reports.terminal.findings import quality_change
from autocomp.reports.terminal.grid import Cell, grid, pairs
from autocomp.reports.terminal.sparkline import bar, sparkline
from autocomp.reports.terminal.strokes import Strokes
from autocomp.runs.layer_result import LayerResult

WIDTH = 48
"""Blocks of a curve."""


def layer_head(row: LayerResult) -> Table:
    """Returns the layer before and after."""
    values: list[tuple[str, Cell]] = []
    if row.kind:
        values.append(("kind", row.kind))
    if row.shape:
        values.append(("weight", "x".join(map(str, row.shape))))
    values.append(("choice", row.choice))
    values.append(("zero", Strokes(bar(row.sparsity, 12), f"{row.sparsity:.1%}", 12)))
    if row.channels < 1:
        values.append(("channels", Strokes(bar(row.channels, 12), f"{row.channels:.1%}", 12)))
    if row.rank < 1:
        values.append(("rank", Strokes(bar(row.rank, 12), f"{row.rank:.1%}", 12)))
    values.append(("weight bits", Strokes(bar(row.weight_bits / 8, 12), str(row.weight_bits), 12)))
    for name, before, after in (
        ("bytes", row.dense_bytes, row.bytes),
        ("MACs", row.dense_macs, row.macs),
    ):
        if before is not None and after is not None:
            share = f" ({after / before:.1%})" if before else ""
            values.append((name, f"{before:,} -> {after:,}{share}"))
    return pairs(f"Layer {row.name}", values)


def layer_findings(found: Findings, layer: str) -> list[RenderableType]:
    """Returns what was found out about the layer, each part where it is there."""
    parts: list[RenderableType] = []
    for curve in found.curves:
        if curve.layer == layer:
            parts += curve_tables(curve, found.unit)
    worth = _worth(found, layer)
    if worth:
        parts.append(pairs("What it is worth", worth))
    if found.policy is not None and layer in found.policy.layers:
        parts += policy_here(found.policy, layer)
    if found.study is not None:
        rows: list[list[Cell]] = [
            [p.name, Strokes(bar(p.importance, 12), f"{p.importance:.1%}", 12), _best_value(p)]
            for p in found.study.parameters
            if p.name == layer or p.name.startswith(f"{layer}[")
        ]
        if rows:
            title = f"Its parameters in the study ({found.study.sampler})"
            parts.append(grid(title, ("parameter", "importance", "value of the best trial"), rows))
    return parts


def curve_tables(curve: ErrorCurve, unit: str) -> list[RenderableType]:
    """Returns the error curve along its front, with the chosen point and the solver's."""
    front = set(curve.front)
    marked = {curve.solver} if curve.chosen is None else {curve.solver, curve.chosen}
    rows: list[list[Cell]] = []
    for place in sorted(front | marked):
        point = curve.points[place]
        marks = ["chosen"] * (place == curve.chosen) + ["solver's"] * (place == curve.solver)
        marks += ["undercut"] * (place not in front)
        rows.append([point.choice, f"{point.cost:,}", f"{point.loss:.4g}", ", ".join(marks)])
    losses = [curve.points[place].loss for place in curve.front]
    drawn = sparkline([math.log10(loss) if loss > 0 else None for loss in losses], WIDTH)
    ends = f"{losses[0]:.3g} to {losses[-1]:.3g} nats" if losses else ""
    title = f"Error curve: {len(front)} of {len(curve.points)} choices that no other undercuts"
    return [
        grid(title, ("choice", unit, "loss (nats)", ""), rows, numbers={unit, "loss (nats)"}),
        pairs("", [("loss, logarithmic", Strokes(drawn, ends))]),
    ]


def policy_here(policy: PolicyPicture, layer: str) -> list[RenderableType]:
    """Returns the policy's action at the layer over budgets and training, and the critic's best."""
    place = policy.layers.index(layer)
    parts: list[RenderableType] = []
    sweep = policy.sweep
    if sweep.budgets:
        rows = [
            [
                budget, *(f"{entry:+.3f}" for entry in sweep.actions[at][place]),
                sweep.choices[at][place], "the run's own" if at == sweep.own else "",
            ]
            for at, budget in enumerate(sweep.budgets)
        ]  # fmt: skip
        entries = policy.entries
        parts.append(
            grid(
                f"What the policy ({policy.algorithm}) does here over budgets, actions in [-1, 1]",
                ("budget", *entries, "choice", ""),
                rows,
                numbers=entries,
            )  # fmt: skip
        )
    looks = policy.movement.actions
    if looks:
        times = policy.movement.evaluations
        curves: list[tuple[str, Cell]] = []
        for number, entry in enumerate(policy.entries):
            values = [look[place][number] for look in looks]
            ends = f"{values[0]:+.3f} to {values[-1]:+.3f}"
            curves.append((entry, Strokes(sparkline(values, WIDTH, -1.0, 1.0), ends)))
        span = f"evaluations {times[0]} to {times[-1]}"
        parts.append(pairs(f"Its action here during training, {span}", curves))
    for surface in policy.surfaces:
        if surface.layer == layer and surface.values:
            parts.append(_critic(policy, surface))
    return parts


def _best_value(parameter: Parameter) -> str:
    """Returns the parameter's value in the trial of largest objective."""
    if not parameter.scores:
        return ""
    best = max(range(len(parameter.scores)), key=parameter.scores.__getitem__)
    return f"{parameter.values[best]:.4g}"


def _critic(policy: PolicyPicture, surface: Surface) -> Table:
    value, y, x = max(
        (value, y, x)
        for y, row in zip(surface.ys, surface.values, strict=True)
        for x, value in zip(surface.xs, row, strict=True)
    )
    best = (x, y)[: max(1, len(surface.at))]
    low = min(map(min, surface.values))
    return pairs(
        "What the critic thinks here",
        [
            ("best action", _named(policy.entries, best)),
            ("the policy's", _named(policy.entries, surface.at)),
            ("value", f"{low:.4g} to {value:.4g} ({policy.unit})"),
        ],
    )


def _named(entries: tuple[str, ...], action: tuple[float, ...]) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in zip(entries, action, strict=False))


def _worth(found: Findings, layer: str) -> list[tuple[str, Cell]]:
    """Returns the layer's price, its next step, and what departing from the solver was worth."""
    values: list[tuple[str, Cell]] = []
    unit, metric, nats = found.unit, found.metric, found.metric.divergence_unit
    for price in found.prices:
        if price.layer == layer:
            last = "at the foot of its curve"
            if price.saved is not None:
                last = f"{1000 * price.saved:.4g} {nats} per 1,000 {unit} saved by its last step"
            values.append(("price", last))
            step = f"{price.next_choice}: {price.next_cost:,} {unit} would save "
            step += f"{price.next_saving:.4g} {nats}"
            values.append(("next step", step if price.next_choice else "none, it is at its top"))
    for d in found.ablations:
        if d.layer == layer:
            values.append(("difference", f"{d.chosen} instead of the solver's {d.solver}"))
            fits = "" if d.within_budget else "; put back, the plan would not meet the budgets"
            values.append(
                (
                    "was worth",
                    f"{d.divergence:+.4g} {nats} measured ({d.estimated:+.4g} estimated), "
                    f"{metric.name} {quality_change(metric, d.quality)}, for {d.cost:+,} "
                    f"{unit}{fits}",
                )
            )
    return values
