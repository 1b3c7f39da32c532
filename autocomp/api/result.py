"""What a search hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from autocomp.core.outcome import Outcome
from autocomp.core.plan import Plan
from autocomp.reports.files import REPORT, write_report
from autocomp.reports.html.closing import closing_html
from autocomp.runs.folder import Run
from autocomp.runs.summary import Summary


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What a search hands back; a notebook shows its closing table.

    Wherever a run's folder is asked for, a result may stand.

    Attributes:
        plan: the chosen plan.
        model: the compressed network, in evaluation mode; `autocomp.save` writes it.
        best: the plan's outcome on the whole search split.
        outcomes: every evaluated plan, in order, then the finalists on the whole split.
        summary: the closing figures.
        run: the run folder.
    """

    plan: Plan
    model: nn.Module
    best: Outcome
    outcomes: tuple[Outcome, ...]
    summary: Summary
    run: Run

    @property
    def file(self) -> Path:
        """The compressed file."""
        return self.run.path / "model.safetensors"

    def report(self) -> Path:
        """Returns the run's report, an HTML page; writes it where the search wrote none."""
        page = self.run.path / REPORT
        return page if page.exists() else write_report(self.run)

    def __fspath__(self) -> str:
        return str(self.run.path)

    def __repr__(self) -> str:
        test, dense = self.summary.test, self.summary.test_dense
        text = test.metric.text
        after, before = self.summary.compressed["size"], self.summary.dense["size"]
        return (
            f"Result({after:,} of {before:,} bytes ({after / max(1, before):.2%}), "
            f"test {test.metric.name} {text(test.quality)} of {text(dense.quality)}, "
            f"{self.summary.evaluations} evaluations, {str(self.run.path)!r})"
        )

    def _repr_html_(self) -> str:
        return closing_html(self.summary)
