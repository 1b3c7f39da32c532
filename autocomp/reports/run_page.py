"""The report of a run: one HTML file."""

from __future__ import annotations

from autocomp.inspection.record import RunRecord
from autocomp.reports.html.page import render_page
from autocomp.reports.sections.ablations import ablations
from autocomp.reports.sections.curves import curves
from autocomp.reports.sections.front import front
from autocomp.reports.sections.glance import glance
from autocomp.reports.sections.making import making
from autocomp.reports.sections.measured import measured
from autocomp.reports.sections.plan_layers import plan_layers
from autocomp.reports.sections.policy import policy
from autocomp.reports.sections.predictions import predictions
from autocomp.reports.sections.study import study
from autocomp.reports.sections.trail import search_trail
from autocomp.reports.sections.training import training

SECTIONS = (
    glance, plan_layers, training, search_trail, front, curves, policy, study, ablations, measured,
    predictions, making,
)  # fmt: skip
"""What a report answers, in order; a section that returns None is left out."""


def render_run(record: RunRecord) -> str:
    """Returns the report of a run as a self-contained HTML document, see `render_page`.

    It is also written for a run that was stopped early, that has no plan within budget, or that
    nobody has inspected; sections without data are left out or say why.
    """
    notes = list(record.notes)
    if record.findings is None and record.best is not None:
        notes.append(
            "The run was not inspected: error curves, ablations, predictions and what the agent "
            "learned are missing."
        )
    sections = [section for make in SECTIONS if (section := make(record)) is not None]
    return render_page(record.name, _lead(record), sections, notes)


def _lead(record: RunRecord) -> str:
    settings = record.settings
    budget = settings.get("budget", ())
    asked = budget if isinstance(budget, str) else ", ".join(map(str, budget))
    return (
        f"{settings.get('agent', 'An agent')} searched {settings.get('space', 'a space')} for "
        f"{settings.get('model', 'a network')} on {settings.get('data', 'its data')}, within "
        f"{asked or 'no budget'}."
    )
