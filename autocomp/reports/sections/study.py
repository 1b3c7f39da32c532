"""What an Optuna study learned: which parameters matter, and what their values gave."""

from __future__ import annotations

from autocomp.inspection.record import RunRecord
from autocomp.inspection.study import Parameter
from autocomp.reports.html.blocks import Prose
from autocomp.reports.html.figures import Figure, Gallery, Panel, Rows, colour, wrapped
from autocomp.reports.html.page import Block, Section
from autocomp.reports.sections.view import close_span
from autocomp.reports.sections.wording import percent, plural, sentence

_SLICES = 40
"""Parameters that are shown, the most important ones."""


def study(record: RunRecord) -> Section | None:
    """Returns importances and slices; a reason if they are missing; None otherwise."""
    found = record.findings
    if found is None:
        return None
    if found.study is None:
        if "study" not in found.left_out:
            return None
        return Section(
            "study", "What the study learned", "", (Prose((sentence(found.left_out["study"]),)),)
        )
    parameters = found.study.parameters
    blocks: list[Block] = []
    if parameters:
        half = len(parameters) <= 24
        blocks = [
            _importances(parameters[:_SLICES], half),
            Gallery("Parameter", [(p.name, _slice(p)) for p in parameters[:_SLICES]], half=half),
        ]
        if len(parameters) > _SLICES:
            text = f"The {_SLICES} most important of {len(parameters):,} parameters are shown."
            blocks.append(Prose((text,)))
    lead = (
        f"{plural(found.study.trials, 'trial')} proposed by {found.study.sampler}. Importance says "
        "which parameters tell good trials from bad ones (PED-ANOVA); a slice shows what each "
        "value of one parameter gave, whatever the others were."
    )
    return Section("study", "What the study learned", lead, tuple(blocks))


def _importances(parameters: tuple[Parameter, ...], half: bool) -> Rows:
    bar = {
        "type": "bar",
        "y": list(range(len(parameters))),
        "x": [100 * parameter.importance for parameter in parameters],
        "hovertext": [
            f"<b>{wrapped(parameter.name, 34)}</b><br>{percent(parameter.importance, 1)} of all"
            for parameter in parameters
        ],
        "hoverinfo": "text",
        "marker": {"color": colour("compressed")},
    }
    return Rows(
        "Importance of each parameter",
        [parameter.name for parameter in parameters],
        (Panel("Share of all (%)", (bar,), {"rangemode": "tozero"}),),
        half,
    )


def _slice(parameter: Parameter) -> Figure:
    trials = list(range(1, len(parameter.values) + 1))
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": parameter.values,
        "y": parameter.scores,
        "customdata": trials,
        "hovertemplate": "trial %{customdata}<br>value %{x:.4~g}<br>objective %{y:.4~g}"
        "<extra></extra>",
        "marker": {
            "size": 7,
            "opacity": 0.75,
            "color": trials,
            "colorscale": [(0.0, "var(--sequential-1)"), (1.0, "var(--sequential-4)")],
            "line": {"width": 0.5, "color": colour("soft")},
        },
    }
    shown, hidden = close_span(parameter.scores) if trials else ([0.0, 1.0], 0)
    layout = {
        "xaxis": {"title": {"text": "value of the parameter"}},
        "yaxis": {"title": {"text": "objective of the trial"}, "range": shown},
    }
    note = f"{percent(parameter.importance, 1)} of the importance; strong colours are late trials."
    if hidden:
        note += f" {plural(hidden, 'trial')} far from the others: double-click to see all."
    return Figure("Slice", (trace,), layout, 380, note=note)
