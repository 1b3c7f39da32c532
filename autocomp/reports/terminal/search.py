"""What a search did, for a terminal: best so far, and the front of accuracy against size."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from autocomp.core.outcome import Outcome
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import best_so_far, pareto_front
from autocomp.reports.terminal.grid import Cell, grid, pairs, shortened
from autocomp.reports.terminal.sparkline import sparkline, thin
from autocomp.reports.terminal.strokes import Strokes

WIDTH = 48
"""Blocks of a curve."""
ROWS = 8
"""Rows of a front."""


def progress(record: RunRecord) -> list[RenderableType]:
    """Returns the best so far against evaluations, beside the baselines at the same count."""
    screened = record.screened
    trail = best_so_far(screened)
    if not trail:
        return []
    first, best = trail[0], trail[-1].best
    at = next(point for point in trail if point.best is best)
    start = "first, the solver's plan" if record.settings.get("warm_start") == "dp" else "first"
    rows = [
        _row(start, first.evaluation, first.seconds, first.best),
        _row("best", at.evaluation, at.seconds, best),
    ]
    for agent, outcomes in record.baselines.items():
        beside = best_so_far(outcomes[: len(screened)])
        if beside:
            then = next(point for point in beside if point.best is beside[-1].best)
            rows.append(_row(f"best of {agent}", then.evaluation, then.seconds, then.best))
    name = record.metric.name
    merits = [None] * (first.evaluation - 1) + [point.best.merit for point in trail]
    curve = Strokes(sparkline(merits, WIDTH), f"{first.best.merit:.4f} to {best.merit:.4f}")
    return [
        pairs("Best so far", [("merit", curve), ("evaluations", f"1 to {len(screened)}")]),
        grid(
            "(merit: minus the gap, the divergence of softened outputs)",
            ("", "evaluation", "seconds", "merit", name, "divergence"), rows,
            numbers={"evaluation", "seconds", "merit", name, "divergence"},
        ),
    ]  # fmt: skip


def front_table(record: RunRecord, cost: str = "size") -> Table | None:
    """Returns the front of quality against a cost over everything that the search evaluated."""
    screened = record.screened
    front = pareto_front(screened, cost)
    if not front:
        return None
    summary = record.summary
    dense = summary.dense.get(cost) if summary else None
    unit = summary.units.get(cost, "") if summary else ""
    place = {id(outcome): number for number, outcome in enumerate(screened, 1)}
    shown = thin(front, ROWS)
    rows = [
        [
            f"{o.costs[cost]:,}", f"{o.costs[cost] / dense:.2%}" if dense else "",
            o.metric.text(o.quality), f"{o.divergence:.4f}", str(place[id(o)]),
            "" if o.within_budget else "over budget",
        ]
        for o in shown
    ]  # fmt: skip
    metric, name = record.metric, f"{cost} ({unit})" if unit else cost
    return grid(
        f"Front of {metric.name} against {cost}, {front[0].n} images"
        + shortened(len(shown), len(front), "plans"),
        (name, "of dense", metric.name, "divergence", "evaluation", ""), rows,
        numbers={name, "of dense", metric.name, "divergence", "evaluation"},
    )  # fmt: skip


def tried(outcomes: Sequence[Outcome], layer: str) -> Table | None:
    """Returns the choices that the search tried at one layer, those of the best plans first."""
    best: dict[str, Outcome] = {}
    count: dict[str, int] = {}
    for outcome in outcomes:
        choice = str(outcome.plan[layer])
        count[choice] = count.get(choice, 0) + 1
        if choice not in best or outcome.rank > best[choice].rank:
            best[choice] = outcome
    if not best:
        return None
    ranked = sorted(best, key=lambda choice: best[choice].rank, reverse=True)
    rows = [
        [choice, str(count[choice]), f"{found.merit:.4f}", found.metric.text(found.quality)]
        for choice, found in ((choice, best[choice]) for choice in ranked[:ROWS])
    ]
    its = f"its {outcomes[0].metric.name}"
    title = "Choices tried here, by the best plan that had them"
    return grid(
        title + shortened(len(rows), len(ranked), "choices"),
        ("choice", "plans", "best merit", its), rows,
        numbers={"plans", "best merit", its},
    )  # fmt: skip


def _row(name: str, evaluation: int, seconds: float, outcome: Outcome) -> list[Cell]:
    return [
        name, str(evaluation), f"{seconds:,.1f}", f"{outcome.merit:.4f}",
        outcome.metric.text(outcome.quality), f"{outcome.divergence:.4f}",
    ]  # fmt: skip
