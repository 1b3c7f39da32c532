"""Writing a run's report."""

from __future__ import annotations

from pathlib import Path

from autocomp.errors import RunError
from autocomp.inspection.record import RunRecord
from autocomp.plugins.imports import optional_import
from autocomp.reports.run_page import render_run
from autocomp.runs.folder import Run
from autocomp.storage.files import write_bytes

REPORT = "report.html"


def check_libraries() -> None:
    """Raises RunError if a library that a report is made with is missing."""
    for library in ("plotly", "PIL"):
        optional_import(library, "report", RunError)


def write_report(run: Run) -> Path:
    """Writes `report.html` of what the run folder holds, all or nothing; returns the path."""
    page = render_run(RunRecord.read(run.path))
    write_bytes(run.path / REPORT, page.encode())
    return run.path / REPORT
