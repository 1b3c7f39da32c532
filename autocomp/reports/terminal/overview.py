"""What `autocomp inspect` shows: a run at a glance, one layer, or everything as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from autocomp.core.outcome import Outcome
from autocomp.core.score import quality_json
from autocomp.errors import LayerError, unknown
from autocomp.inspection.planned import is_outdated, planned_rows
from autocomp.inspection.record import RunRecord
from autocomp.inspection.trajectory import best_so_far, improvements, pareto_front
from autocomp.reports.terminal.findings import findings_tables
from autocomp.reports.terminal.layer import layer_findings, layer_head
from autocomp.reports.terminal.plan import head, plan_table
from autocomp.reports.terminal.search import front_table, progress, tried
from autocomp.reports.terminal.tables import dense_against_compressed, notes


def inspection_overview(record: RunRecord) -> list[RenderableType]:
    """Returns everything worth knowing of a run at a glance; what is unknown is left out.

    Print each as it is (names are shown literally), texts best with `soft_wrap=True`.
    """
    parts: list[RenderableType] = [head(record)]
    if record.summary is not None:
        parts.append(dense_against_compressed(record.summary))
    rows = planned_rows(record)
    if rows:
        parts.append(plan_table(rows))
    parts += progress(record)
    front = front_table(record)
    if front is not None:
        parts.append(front)
    if record.findings is not None:
        parts += findings_tables(record.findings)
    return parts + [Text(line, overflow="fold") for line in _lines(record)]


def inspection_of_layer(record: RunRecord, layer: str) -> list[RenderableType]:
    """Returns everything that is known of one layer.

    Raises:
        LayerError: if the plan has no layer of that name.
    """
    rows = {row.name: row for row in planned_rows(record)}
    if layer not in rows:
        raise LayerError(unknown("layer", layer, rows))
    parts: list[RenderableType] = [layer_head(rows[layer])]
    if record.findings is not None:
        parts += layer_findings(record.findings, layer)
    choices = tried(record.screened, layer)
    if choices is not None:
        parts.append(choices)
    return parts + [Text(line, overflow="fold") for line in (*record.notes, *_unfound(record))]


def inspection_json(record: RunRecord) -> dict[str, Any]:
    """Returns a run as values that JSON can hold; numbers that are not finite become None.

    Returns:
        name, complete, settings, versions, fingerprints, summary, best (an outcome), outcomes
        (counts), best_so_far (the evaluations at which it changed), front (quality against size,
        over the search), baselines (their best so far), findings, notes.
    """
    summary, found, best = record.summary, record.findings, record.best
    screened = record.screened
    values = {
        "name": record.name,
        "complete": summary is not None,
        "settings": dict(record.settings),
        "versions": dict(record.config.get("versions", {})),
        "fingerprints": dict(record.config.get("fingerprints", {})),
        "summary": None if summary is None else summary.to_json(),
        "best": None if best is None else best.to_json(),
        "outcomes": {
            "evaluations": len(screened),
            "within_budget": sum(o.within_budget for o in screened),
            "finalists": len(record.outcomes) - len(screened),
        },
        "best_so_far": _trail(screened),
        "front": [outcome.to_json() for outcome in pareto_front(screened)],
        "baselines": {agent: _trail(o) for agent, o in record.baselines.items()},
        "findings": None if found is None else found.to_json(),
        "notes": _lines(record),
    }
    plain: dict[str, Any] = _finite(values)
    return plain


def _trail(outcomes: tuple[Outcome, ...]) -> list[dict[str, Any]]:
    return [
        {
            "evaluation": point.evaluation, "seconds": point.seconds, "merit": point.best.merit,
            **quality_json(point.best.quality, point.best.metric),
            "divergence": point.best.divergence,
            "costs": dict(point.best.costs),
        }
        for point in improvements(best_so_far(outcomes))
    ]  # fmt: skip


def _lines(record: RunRecord) -> list[str]:
    """Returns what a reader should know beside the numbers, one sentence each."""
    lines = list(record.notes)
    if record.summary is not None:
        lines += notes(record.summary)
    if record.best is None:
        lines.append("No plan within the budgets has been evaluated.")
    lines += _unfound(record)
    if record.findings is not None:
        left_out = record.findings.left_out.items()
        lines += [f"{section}: {reason}" for section, reason in left_out]
    return lines


def _unfound(record: RunRecord) -> list[str]:
    """Returns what is to be said where nobody looked into the best plan."""
    if record.findings is None:
        return ["Nobody looked into this run yet; `autocomp report` does."]
    if is_outdated(record):
        return ["What was found out is about an earlier best plan; `autocomp report` looks again."]
    return []


def _finite(value: Any) -> Any:
    """Returns a copy of which JSON's strict form can be written."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
