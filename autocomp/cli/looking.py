"""`report`, `inspect` and `compare`: runs, readable by a person who was not there."""

from __future__ import annotations

import argparse
import json
from typing import Any

from autocomp.cli.console import say, show
from autocomp.cli.trust import add_trust, tell_trusted
from autocomp.errors import RunError

BASELINES = "uniform,random"


def add(commands: Any) -> None:
    """Adds the commands to the parser."""
    report = commands.add_parser("report", help="write a run's report.html")
    report.add_argument("folder", metavar="RUN", help="the run folder, complete or not")
    report.add_argument(
        "--baselines", default=BASELINES,
        help="agents to run beside, with the same count of evaluations, once; none for none "
        f"(default: {BASELINES})",
    )  # fmt: skip
    report.add_argument(
        "--plain", action="store_true",
        help="only what the folder holds; neither network nor data are needed",
    )  # fmt: skip
    add_trust(report)
    report.set_defaults(run=_report)

    inspect = commands.add_parser("inspect", help="show what a run learned")
    inspect.add_argument("folder", metavar="RUN", help="the run folder, complete or not")
    inspect.add_argument("--layer", default="", help="everything about one layer")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)

    compare = commands.add_parser("compare", help="compare runs of the same network and data")
    compare.add_argument("folders", metavar="RUN", nargs="+", help="run folders")
    compare.add_argument(
        "--out", default="comparison.html", help="page to write (default: comparison.html)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.set_defaults(run=_compare)


def _report(given: argparse.Namespace) -> int:
    from autocomp.reports.files import write_report
    from autocomp.runs.folder import Run

    if given.plain:
        say(f"Report: {write_report(Run.open(given.folder))}")
        return 0
    from autocomp.api.report import report

    names = [name.strip() for name in given.baselines.split(",") if name.strip()]
    names = [] if names == ["none"] else names
    tell_trusted(given)
    try:
        path = report(
            given.folder, baselines=names, model=given.model, data=given.data,
            trust=given.trust_run,
        )  # fmt: skip
    except RunError as error:
        if "given as a Python object" not in str(error):
            raise
        path = write_report(Run.open(given.folder))
        say(f"Of the record only: {error}")
    say(f"Report: {path}")
    return 0


def _inspect(given: argparse.Namespace) -> int:
    from autocomp.inspection.record import RunRecord
    from autocomp.reports.terminal.overview import (
        inspection_json,
        inspection_of_layer,
        inspection_overview,
    )

    record = RunRecord.read(given.folder)
    if given.json:
        say(json.dumps(inspection_json(record)))
    elif given.layer:
        show(inspection_of_layer(record, given.layer), 140)
    else:
        show(inspection_overview(record), 140)
    return 0


def _compare(given: argparse.Namespace) -> int:
    from autocomp.api.compare import compare
    from autocomp.reports.terminal.comparison_tables import comparison_tables

    page = None if given.json else given.out
    found = compare(given.folders, out=page)
    if given.json:
        say(json.dumps(found.to_json()))
        return 0
    show(comparison_tables(found), 140)
    say(f"Page: {page}")
    return 0
