"""Writing a run's report."""

from __future__ import annotations

from pathlib import Path

from autocomp.files import write_bytes
from autocomp.report.record import RunRecord
from autocomp.report.run_page import render_run
from autocomp.runs import Run

REPORT = "report.html"


def write_report(run: Run) -> Path:
    """Writes `report.html` of what the run folder holds, all or nothing; returns the path."""
    page = render_run(RunRecord.read(run.path))
    write_bytes(run.path / REPORT, page.encode())
    return run.path / REPORT
