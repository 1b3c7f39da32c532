"""Writing a run's report."""

from __future__ import annotations

from pathlib import Path

from autocomp.inspection.record import RunRecord
from autocomp.reports.run_page import render_run
from autocomp.runs.folder import Run
from autocomp.storage.files import write_bytes

REPORT = "report.html"


def write_report(run: Run) -> Path:
    """Writes `report.html` of what the run folder holds, all or nothing; returns the path."""
    page = render_run(RunRecord.read(run.path))
    write_bytes(run.path / REPORT, page.encode())
    return run.path / REPORT
