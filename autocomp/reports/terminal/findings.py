"""What was found out about a run, for a terminal: prices, ablations, the agent, predictions."""

from __future__ import annotations

from itertools import pairwise

from rich.console import RenderableType
from rich.table import Table

from autocomp.core.metric import Metric
from autocomp.inspection.findings import Findings
from autocomp.inspection.policy import PolicyPicture
from autocomp.inspection.predictions import Predictions
from autocomp.inspection.study import StudyPicture
from autocomp.reports.terminal.grid import Cell, grid, pairs, shortened
from autocomp.reports.terminal.sparkline import bar, sparkline
from autocomp.reports.terminal.strokes import Strokes

ROWS = 8
"""Rows of a table, at most."""
WORST = 5
"""Classes that lost most."""
WIDTH = 12
"""Blocks of a whole bar."""


def findings_tables(found: Findings) -> list[RenderableType]:
    """Returns a table for every part of the findings that is there."""
    parts: list[RenderableType] = []
    if found.prices:
        parts.append(price_table(found))
    if found.ablations:
        parts.append(ablation_table(found))
    if found.policy is not None:
        parts += policy_tables(found.policy)
    if found.multipliers:
        parts.append(multiplier_table(found))
    if found.study is not None and found.study.parameters:
        parts.append(study_table(found.study))
    if found.predictions is not None:
        parts += prediction_tables(found.predictions)
    return parts


def price_table(found: Findings) -> Table:
    """Returns the layers at which a unit of the budget is worth most, the dearest first."""
    ranked = sorted(found.prices, key=lambda p: -1.0 if p.saved is None else p.saved, reverse=True)
    rows = [
        [
            price.layer,
            "" if price.saved is None else f"{1000 * price.saved:.4g}",
            price.next_choice or "at its top",
            f"{price.next_cost:,}" if price.next_choice else "",
            f"{price.next_saving:.4g}" if price.next_choice else "",
        ]
        for price in ranked[:ROWS]
    ]
    nats = found.metric.divergence_unit
    worth, cost, saves = f"{nats} / 1,000 {found.unit}", f"for {found.unit}", f"saves {nats}"
    return grid(
        f"Marginal prices: what the last {found.unit} saved, what the next would buy"
        + shortened(len(rows), len(ranked), "layers"),
        ("layer", worth, "next choice", cost, saves), rows,
        numbers={worth, cost, saves},
    )  # fmt: skip


def ablation_table(found: Findings) -> Table:
    """Returns where the plan departs from the solver's, what mattered most first."""
    metric = found.metric
    nats, name = metric.divergence_unit, metric.name
    ranked = sorted(found.ablations, key=lambda d: abs(d.divergence), reverse=True)
    rows = [
        [
            d.layer, d.chosen, d.solver, f"{d.cost:+,}", f"{d.divergence:+.4g}",
            f"{d.estimated:+.4g}", quality_change(metric, d.quality),
            "" if d.within_budget else "no",
        ]
        for d in ranked[:ROWS]
    ]  # fmt: skip
    paid = sum(d.divergence < 0 for d in ranked)
    of = f"{len(ranked)} difference{'' if len(ranked) == 1 else 's'}"
    return grid(
        f"Differences from the solver's plan: {paid} of {of} lowered the divergence"
        + shortened(len(rows), len(ranked), "layers"),
        ("layer", "chosen", "solver's", found.unit, nats, "F0", name, "back fits"), rows,
        numbers={found.unit, nats, "F0", name},
    )  # fmt: skip


def multiplier_table(found: Findings) -> Table:
    """Returns by how much layers' estimated losses were found to be wrong, the furthest first."""
    ranked = sorted(
        found.multipliers, key=lambda m: abs(m.multiplier - 1) / m.deviation, reverse=True
    )
    rows = [
        [m.layer, f"{m.multiplier:.2f}", f"{m.deviation:.2f}", f"{m.bend:+.2f}",
         f"{m.bend_deviation:.2f}"]
        for m in ranked[:ROWS]
    ]  # fmt: skip
    return grid(
        "What the search found of the estimated losses: (multiplier + bend ln(L / L(start))) L"
        + shortened(len(rows), len(ranked), "layers"),
        ("layer", "multiplier", "+-", "bend", "+- "), rows,
        numbers={"multiplier", "+-", "bend", "+- "},
    )  # fmt: skip


def quality_change(metric: Metric, difference: float) -> str:
    """Returns a difference of qualities: "+0.40%" for shares."""
    return f"{difference:+.2%}" if metric.percent else f"{difference:+.4g}"


def policy_tables(policy: PolicyPicture) -> list[RenderableType]:
    """Returns what a policy depends on, how it does over budgets, and how far it moved."""
    parts: list[RenderableType] = []
    if policy.influences:
        top = policy.influences[:ROWS]
        most = max(abs(i.effect) for i in top) or 1.0
        parts.append(
            grid(
                f"What the policy ({policy.algorithm}) depends on"
                + shortened(len(top), len(policy.influences), "features"),
                ("feature", "effect on the action"),
                [
                    [i.feature, Strokes(bar(i.effect / most, WIDTH), f"{i.effect:.4g}", WIDTH)]
                    for i in top
                ],
            )
        )
    sweep = policy.sweep
    if sweep.budgets:
        rows = [
            [budget, f"{own:.4g}", f"{best:.4g}", "the run's own" if place == sweep.own else ""]
            for place, (budget, own, best) in enumerate(
                zip(sweep.budgets, sweep.estimated, sweep.solver, strict=False)
            )
        ]
        parts.append(
            grid(
                "The policy over budgets, estimated loss (F0, nats)",
                ("budget", "policy", "solver", ""),
                rows,
                numbers={"policy", "solver"},
            )  # fmt: skip
        )
    looks = policy.movement.actions
    moved = [_distance(a, b) for a, b in pairwise(looks)]
    if moved:
        times = policy.movement.evaluations
        span = f"from evaluation {times[0]} to {times[-1]}; largest {max(moved):.3g}"
        curve = Strokes(sparkline(moved, 4 * WIDTH, low=0.0), span)
        parts.append(pairs("How the policy moved", [("mean action change", curve)]))
    return parts


def study_table(study: StudyPicture) -> Table:
    """Returns the parameters that mattered most."""
    top = study.parameters[:ROWS]
    rows: list[list[Cell]] = [
        [p.name, Strokes(bar(p.importance, WIDTH), f"{p.importance:.1%}", WIDTH)] for p in top
    ]
    return grid(
        f"Which parameters mattered ({study.sampler}, {study.trials} trials)"
        + shortened(len(top), len(study.parameters), "parameters"),
        ("parameter", "importance"), rows,
    )  # fmt: skip


def prediction_tables(found: Predictions) -> list[RenderableType]:
    """Returns how predictions changed, and the classes that lost most."""
    before, after = found.dense.error, found.compressed.error
    lost = sorted(
        (c for c in found.classes if c.compressed < c.dense), key=lambda c: c.compressed - c.dense
    )
    facts: list[tuple[str, Cell]] = [
        ("same class as dense", f"{found.agreement:.2%}"),
        ("calibration error", f"{before:.4f} dense, {after:.4f} compressed"),
        ("classes that lost", f"{len(lost)} of {len(found.classes)}"),
    ]
    parts: list[RenderableType] = [
        pairs(f"Predictions on the {found.split} split, {found.n:,} samples", facts)
    ]
    if lost:
        rows = [
            [c.label, f"{c.n:,}", f"{c.dense:.2%}", f"{c.compressed:.2%}",
             f"{c.compressed - c.dense:+.2%}"]
            for c in lost[:WORST]
        ]  # fmt: skip
        parts.append(
            grid(
                "Classes that lost most" + shortened(len(rows), len(lost), "classes"),
                ("class", "samples", "dense", "compressed", "change"),
                rows,
                numbers={"samples", "dense", "compressed", "change"},
            )  # fmt: skip
        )
    return parts


def _distance(before: tuple[tuple[float, ...], ...], after: tuple[tuple[float, ...], ...]) -> float:
    """Returns the mean absolute change of an action's entry."""
    changes = [
        abs(b - a)
        for one, other in zip(before, after, strict=False)
        for a, b in zip(one, other, strict=False)
    ]
    return sum(changes) / len(changes) if changes else 0.0
